import { afterEach, describe, expect, it } from 'vitest';
import { Arena } from '../../lib/arena/arena.ts';
import { asMemoryDevio, MEMORY_API, type MemoryDevio, memoryDevio } from '../../lib/devios/memory.ts';
import { type Device, type DevioProvider, FRAMEWORK_API } from '../../lib/framework/types.ts';
import { loadNative } from '../../native/index.ts';
import { codeOf, thrown } from '../fakes/errors.ts';
import { countFds } from '../fakes/fds.ts';

const native = loadNative();
const device = {} as Device;
let arena = new Arena(native);

afterEach(() => {
  // Whatever a test did, its devios gave everything back.
  expect(arena.mapped()).toEqual([]);
  expect(countFds('eventfd')).toBe(eventfds);
  arena.close();
  arena = new Arena(native);
});

const eventfds = countFds('eventfd');

function makeProvider(of = arena): DevioProvider {
  return memoryDevio(of, { name: 'memory', version: 1 });
}

const open = (provider: DevioProvider): MemoryDevio => asMemoryDevio(provider.open(device) as MemoryDevio);

describe('devio-memory', () => {
  it('serves the devices of the enumerator api that it was made for, all of them', () => {
    const provider = makeProvider();
    expect(provider).toMatchObject({
      name: 'memory-memory',
      frameworkApi: FRAMEWORK_API,
      api: MEMORY_API,
      backend: 'arena',
      enumeratorApi: { name: 'memory', version: 1 },
    });
    expect(provider.usable(device)).toBe(true);
  });

  it('gives zeroed memory of the arena, and takes it back', () => {
    const devio = open(makeProvider());
    expect(devio.memory).toBe(arena.memory);
    const [a, b] = [devio.allocate(100), devio.allocate(100)] as const;
    expect(a % 64).toBe(0);
    arena.u8.fill(1, a, a + 100);
    devio.free(a);
    expect(devio.allocate(100)).toBe(a);
    expect(arena.u8.subarray(a, a + 100).every((byte) => byte === 0)).toBe(true);
    devio.free(12_345); // not its own: nothing
    devio.free(b);
    devio.close();
  });

  it('gives back all it gave when it is closed, once', () => {
    const devio = open(makeProvider());
    for (let i = 0; i < 10; i++) devio.allocate(1000);
    for (let i = 0; i < 3; i++) devio.eventfd();
    expect(countFds('eventfd')).toBe(eventfds + 3);
    devio.close();
    devio.close();
  });

  it('shares memory and an eventfd by name, until the last one that has it is closed', () => {
    const provider = makeProvider();
    const [a, b, c] = [open(provider), open(provider), open(provider)] as const;
    const thing = a.shared('wire', 1000);
    expect(b.shared('wire', 1000)).toBe(thing);
    expect(b.shared('wire', 1000)).toBe(thing);
    const other = c.shared('another', 1000);
    expect(other.offset).not.toBe(thing.offset);
    expect(other.fd).not.toBe(thing.fd);
    expect(countFds('eventfd')).toBe(eventfds + 2);
    arena.u8[thing.offset] = 1;
    a.close();
    a.close();
    expect(arena.u8[thing.offset]).toBe(1);
    c.close();
    b.close();
    // Gone: whoever asks again gets it anew, zeroed.
    const d = open(provider);
    expect(arena.u8[d.shared('wire', 1000).offset]).toBe(0);
    d.close();
  });

  it('shares nothing between engines', () => {
    const [a, b] = [open(makeProvider()), open(makeProvider())] as const;
    expect(a.shared('wire', 64).offset).not.toBe(b.shared('wire', 64).offset);
    a.close();
    b.close();
  });

  it('refuses to share what has another size', () => {
    const provider = makeProvider();
    const [a, b] = [open(provider), open(provider)] as const;
    a.shared('wire', 1000);
    const error = thrown(() => b.shared('wire', 2000));
    expect(error.code).toBe('SHARED_SIZE');
    expect(error.message).toBe(
      '2000 bytes shared as "wire": another device asked for 1000; give both devices the same settings',
    );
    b.close();
    a.close();
  });

  it('leaves nothing behind when memory or descriptors are missing', () => {
    const small = new Arena(native, { bytes: 4 * 1024 * 1024 });
    const devio = open(makeProvider(small));
    expect(codeOf(() => devio.shared('wire', 3 * 1024 * 1024))).toBe('ARENA_FULL');
    expect(codeOf(() => devio.allocate(3 * 1024 * 1024))).toBe('ARENA_FULL');
    devio.close();
    small.close();

    const poor = new Arena({ ...native, eventfd: () => { throw new Error('Too many open files'); } }); // biome-ignore format: short
    const other = open(makeProvider(poor));
    expect(() => other.shared('wire', 64)).toThrow('Too many open files');
    expect(poor.mapped()).toEqual([]);
    other.close();
    poor.close();
  });

  it('is not what a driver was given that is another', () => {
    const error = thrown(() =>
      asMemoryDevio({ api: { name: 'devio-iommu', version: 2 }, backend: 'vfio', close: () => {} }),
    );
    expect(error.code).toBe('WRONG_DEVIO');
    expect(error.message).toBe(
      'devio devio-iommu 2: the driver needs devio-memory 1; let the framework match drivers and devios',
    );
    expect(
      codeOf(() => asMemoryDevio({ api: { name: MEMORY_API.name, version: 2 }, backend: 'x', close: () => {} })),
    ).toBe('WRONG_DEVIO');
  });
});
