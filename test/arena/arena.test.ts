import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { Arena, type Segment } from '../../lib/arena/arena.ts';
import { availableBytes, memoryAvailable } from '../../lib/arena/available.ts';
import { ArenaError } from '../../lib/errors.ts';
import { loadNative, type Native } from '../../native/index.ts';
import { codeOf, thrown } from '../fakes/errors.ts';
import { countFds } from '../fakes/fds.ts';
import { temporaryFolder } from '../fakes/folder.ts';

const PAGE = 4096;
const MIB = 1024 * 1024;
const DMA_END = 2 ** 31;
const inFolder = temporaryFolder();
const native = loadNative();
const arenas: Arena[] = [];

function makeArena(bytes?: number, addon: Native = native): Arena {
  const arena = new Arena(addon, bytes === undefined ? {} : { bytes });
  arenas.push(arena);
  return arena;
}

afterEach(() => {
  for (const arena of arenas.splice(0)) arena.close();
  expect(countFds('memfd:linecard')).toBe(0);
});

/** An addon whose `name` fails as a system call does. */
function failing(name: 'mapMemory' | 'unmap', errno: number, times = Number.POSITIVE_INFINITY): Native {
  const call = (...args: never[]): unknown => {
    if (times-- > 0) throw Object.assign(new Error('no luck'), { syscall: 'mmap', errno });
    return (native[name] as (...args: never[]) => unknown)(...args);
  };
  return { ...native, [name]: call };
}

describe('an arena', () => {
  it('is four gigabytes of addresses, of which none is in use', () => {
    const arena = makeArena();
    expect(arena.memory.byteLength).toBe(2 ** 32);
    expect(arena.u8.length).toBe(2 ** 32);
    expect(arena.used).toEqual({ dma: 0, window: 0 });
    const resident = Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
    expect(resident).toBeLessThan(2 ** 31);
  });

  it('can be smaller', () => {
    expect(makeArena(4 * 65_536).memory.byteLength).toBe(4 * 65_536);
    expect(makeArena(64 * MIB).memory.byteLength).toBe(64 * MIB);
  });

  it('has a size that is possible, or says which are', () => {
    for (const bytes of [
      0,
      -65_536,
      65_536,
      3 * 65_536,
      4 * 65_536 + 1,
      2 ** 32 + 65_536,
      Number.NaN,
      1.5,
      Number.POSITIVE_INFINITY,
    ]) {
      const error = thrown(() => new Arena(native, { bytes }));
      expect(error).toBeInstanceOf(ArenaError);
      expect(error.code, String(bytes)).toBe('BAD_ARENA_SIZE');
      expect(error.message).toContain('a multiple of 65536 bytes, from 262144 to 4294967296');
    }
  });

  it('needs addresses: without, the error says what limits them', () => {
    const module = fileURLToPath(new URL('../../dist/lib/arena/reserve.js', import.meta.url));
    const script = `const { reserve } = await import(${JSON.stringify(module)});
      try { reserve(2 ** 32) } catch ({ code, message }) { console.log(code, message) }`;
    // In KiB: less than the arena alone.
    const shell = `ulimit -v 4000000; exec "${process.execPath}" --input-type=module -e '${script}'`;
    const { stdout, stderr } = spawnSync('sh', ['-c', shell], { encoding: 'utf8', env: {} });
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^NO_ADDRESS_SPACE arena of 4294967296 bytes: .*; raise "ulimit -v"/);
  });

  it('is its own: what one maps, another does not see', () => {
    const [a, b] = [makeArena(MIB * 8), makeArena(MIB * 8)] as const;
    const at = a.mapMemory(PAGE).offset;
    expect(b.mapMemory(PAGE).offset).toBe(at);
    a.u8[at] = 1;
    expect(b.u8[at]).toBe(0);
  });
});

describe('mapped memory', () => {
  it('is zeroed, in whole pages, at offsets from 64 KiB to 2 GiB', () => {
    const arena = makeArena();
    const first = arena.mapMemory(1);
    expect(first).toMatchObject({ offset: 65_536, length: PAGE, zone: 'dma', huge: false });
    const second = arena.mapMemory(3 * PAGE + 1, { align: MIB });
    expect(second).toMatchObject({ offset: MIB, length: 4 * PAGE });
    expect(arena.used.dma).toBe(5 * PAGE);
    expect(arena.mapped()).toEqual([first, second]);
    expect(arena.u8.subarray(second.offset, second.offset + second.length).every((byte) => byte === 0)).toBe(true);
  });

  it('has a file that can be given away', () => {
    const arena = makeArena();
    const segment = arena.mapMemory(2 * PAGE);
    arena.u8[segment.offset + PAGE] = 77;
    const fd = openSync(`/proc/self/fd/${segment.fd}`, 'r');
    expect(readFileSync(fd)[PAGE]).toBe(77);
    closeSync(fd);
    expect(countFds('memfd:linecard')).toBe(1);
  });

  it('never overlaps, and never lies where the other zone is', () => {
    const arena = makeArena();
    const path = inFolder('file');
    writeFileSync(path, Buffer.alloc(16 * PAGE));
    const fd = openSync(path, 'r+');
    const want = fc.record({ pages: fc.integer({ min: 1, max: 16 }), file: fc.boolean(), drop: fc.boolean() });
    fc.assert(
      fc.property(fc.array(want, { maxLength: 30 }), (wants) => {
        const segments: Segment[] = [];
        for (const { pages, file, drop } of wants) {
          const segment = file ? arena.mapFd(fd, 0, pages * PAGE, { writable: true }) : arena.mapMemory(pages * PAGE);
          if (drop) arena.unmap(segment);
          else segments.push(segment);
        }
        const sorted = [...segments].sort((a, b) => a.offset - b.offset);
        for (const [i, { offset, length, zone }] of sorted.entries()) {
          expect(offset + length).toBeLessThanOrEqual(sorted[i + 1]?.offset ?? 2 ** 32);
          expect(zone === 'dma').toBe(offset < DMA_END);
        }
        for (const segment of segments) arena.unmap(segment);
        expect(arena.used).toEqual({ dma: 0, window: 0 });
      }),
      { numRuns: 40 },
    );
    closeSync(fd);
  });

  it('reads as zeros when it was unmapped, through old views too, and can be mapped again', () => {
    const arena = makeArena();
    const segment = arena.mapMemory(4 * PAGE);
    const stale = new Int32Array(arena.memory, segment.offset, PAGE);
    stale.fill(-1);
    arena.unmap(segment);
    expect(stale.every((word) => word === 0)).toBe(true);
    stale.fill(5); // nobody's memory now, and no crash
    const again = arena.mapMemory(4 * PAGE);
    expect(again.offset).toBe(segment.offset);
    expect(stale.every((word) => word === 0)).toBe(true);
  });

  it('is unmapped once, by the arena that has it', () => {
    const [arena, other] = [makeArena(), makeArena()] as const;
    const segment = arena.mapMemory(PAGE);
    expect(codeOf(() => other.unmap(segment))).toBe('NOT_MAPPED');
    expect(codeOf(() => arena.unmap({ ...segment }))).toBe('NOT_MAPPED');
    arena.unmap(segment);
    expect(codeOf(() => arena.unmap(segment))).toBe('NOT_MAPPED');
    expect(countFds('memfd:linecard')).toBe(0);
  });

  it('that cannot be had is refused before it is touched', () => {
    const arena = makeArena();
    const error = thrown(() => arena.mapMemory(2 ** 50));
    expect(error.code).toBe('NO_MEMORY');
    expect(error.message).toMatch(
      /^1125899906842624 bytes of frame or ring memory: only \d+ bytes of memory are available; ask for fewer or smaller frames/,
    );
    expect(error.detail).toEqual({ bytes: 2 ** 50 });
    expect(arena.used.dma).toBe(0);
  });

  it('that the kernel refuses leaves nothing behind, and says which call failed', () => {
    const arena = makeArena(undefined, failing('mapMemory', -12));
    const error = thrown(() => arena.mapMemory(PAGE));
    expect(error.code).toBe('NO_MEMORY');
    expect(error.message).toContain('mmap failed (no luck)');
    expect(error.cause).toMatchObject({ errno: -12 });
    expect(arena.used.dma).toBe(0);
    expect(arena.mapped()).toEqual([]);
  });

  it('has no room for more than the zone has', () => {
    const arena = makeArena(MIB);
    const error = thrown(() => arena.mapMemory(MIB));
    expect(error.code).toBe('ARENA_FULL');
    expect(error.detail).toMatchObject({ zone: 'dma', bytes: MIB, free: MIB / 2 - 65_536 });
    arena.mapMemory(MIB / 2 - 65_536);
    expect(codeOf(() => arena.mapMemory(1))).toBe('ARENA_FULL');
  });

  it('has a size and an alignment', () => {
    const arena = makeArena();
    for (const bytes of [0, -1, 1.5, Number.NaN]) expect(codeOf(() => arena.mapMemory(bytes))).toBe('BAD_SIZE');
    expect(codeOf(() => arena.mapMemory(PAGE, { align: 3 * PAGE }))).toBe('BAD_SIZE');
    expect(codeOf(() => arena.mapFd(0, 0, 0, { writable: true }))).toBe('BAD_SIZE');
  });
});

describe('a mapped file', () => {
  it("lies above the DMA memory, and stays its owner's", () => {
    const arena = makeArena();
    const path = inFolder('window');
    writeFileSync(path, Buffer.concat([Buffer.alloc(PAGE, 1), Buffer.alloc(PAGE, 2)]));
    const fd = openSync(path, 'r+');
    const segment = arena.mapFd(fd, PAGE, 100, { writable: true });
    expect(segment).toEqual({ offset: DMA_END, length: PAGE, zone: 'window', fd: -1, huge: false });
    expect(arena.u8[segment.offset]).toBe(2);
    arena.u8[segment.offset] = 3;
    arena.unmap(segment);
    expect(arena.u8[segment.offset]).toBe(0);
    expect(readFileSync(path)[PAGE]).toBe(3);
    expect(readFileSync(fd).length).toBe(2 * PAGE); // still open
    closeSync(fd);
  });

  it('that cannot be mapped takes no room', () => {
    const arena = makeArena();
    const error = thrown(() => arena.mapFd(1_000_000, 0, PAGE, { writable: true }));
    expect(error.code).toBe('MAP_FAILED');
    expect(error.message).toMatch(/^mapping 4096 bytes of fd 1000000 at 0: mmap failed \(Bad file descriptor\); check/);
    const path = inFolder('empty');
    writeFileSync(path, '');
    const fd = openSync(path, 'r+');
    expect(codeOf(() => arena.mapFd(fd, 0, PAGE, { writable: true }))).toBe('MAP_FAILED');
    closeSync(fd);
    expect(arena.used.window).toBe(0);
  });
});

describe('registers', () => {
  it('are mapped in parts; between them are zeros, and ones where they have vanished', () => {
    const arena = makeArena(64 * MIB);
    const path = inFolder('registers');
    writeFileSync(path, new Uint8Array(4 * PAGE).fill(7));
    const fd = openSync(path, 'r+');
    const areas = [
      { at: 0, length: PAGE, fdOffset: PAGE },
      { at: 2 * PAGE, length: 100, fdOffset: 3 * PAGE },
    ];
    const segment = arena.mapRegisters(fd, 3 * PAGE - 10, areas);
    const at = (page: number) => arena.u8[segment.offset + page * PAGE + 5];
    expect(segment).toMatchObject({ length: 3 * PAGE, zone: 'window' });
    expect([at(0), at(1), at(2)]).toEqual([7, 0, 7]);
    arena.u8[segment.offset + 5] = 9;
    expect(readFileSync(path)[PAGE + 5]).toBe(9);
    expect(arena.vanished(segment)).toBe(false);
    truncateSync(path, 2 * PAGE);
    expect([at(0), at(1), at(2)]).toEqual([9, 0, 255]);
    expect(arena.vanished(segment)).toBe(true);
    arena.unmap(segment);
    expect([at(0), at(1), at(2)]).toEqual([0, 0, 0]);
    expect(arena.used.window).toBe(0);
    closeSync(fd);
  });

  it('are mapped whole or not at all', () => {
    const arena = makeArena(64 * MIB);
    const path = inFolder('short');
    writeFileSync(path, new Uint8Array(PAGE));
    const fd = openSync(path, 'r+');
    const good = { at: 0, length: PAGE, fdOffset: 0 };
    for (const bad of [
      { at: PAGE, length: PAGE, fdOffset: PAGE },
      { at: PAGE, length: 2 * PAGE, fdOffset: 0 },
    ]) {
      expect(codeOf(() => arena.mapRegisters(fd, 2 * PAGE, [good, bad]))).toBe('MAP_FAILED');
      expect(arena.used.window).toBe(0);
    }
    closeSync(fd);
  });
});

describe('allocations', () => {
  it('are zeroed, on cache lines of their own, and stay apart', () => {
    const arena = makeArena();
    const want = fc.record({ bytes: fc.integer({ min: 1, max: 5000 }), free: fc.boolean() });
    fc.assert(
      fc.property(fc.array(want, { maxLength: 60 }), (wants) => {
        const held: { at: number; bytes: number }[] = [];
        for (const { bytes, free } of wants) {
          const at = arena.allocate(bytes);
          expect(at % 64).toBe(0);
          expect(arena.u8.subarray(at, at + bytes).every((byte) => byte === 0)).toBe(true);
          arena.u8.fill(0xff, at, at + bytes);
          if (free) arena.free(at);
          else held.push({ at, bytes });
        }
        held.sort((a, b) => a.at - b.at);
        for (const [i, { at, bytes }] of held.entries())
          expect(at + bytes).toBeLessThanOrEqual(held[i + 1]?.at ?? 2 ** 31);
        for (const { at } of held) arena.free(at);
        expect(arena.mapped()).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  it('share a chunk, which goes with the last of them', () => {
    const arena = makeArena();
    const offsets = Array.from({ length: 100 }, () => arena.allocate(1000));
    expect(arena.mapped()).toHaveLength(1);
    const last = offsets.pop() as number;
    for (const at of offsets) arena.free(at);
    expect(arena.mapped()).toHaveLength(1);
    arena.free(last);
    expect(arena.mapped()).toEqual([]);
    expect(arena.used.dma).toBe(0);
  });

  it('can be larger than a chunk, and aligned to more than a page', () => {
    const arena = makeArena();
    const large = arena.allocate(3 * MIB);
    const aligned = arena.allocate(100, MIB);
    expect(aligned % MIB).toBe(0);
    const odd = arena.allocate(100, 1);
    expect(odd % 64).toBe(0);
    arena.u8.fill(1, large, large + 3 * MIB);
    for (const at of [large, aligned, odd]) arena.free(at);
    expect(arena.mapped()).toEqual([]);
  });

  it('are freed once, by their offset', () => {
    const arena = makeArena();
    const [a, b] = [arena.allocate(100), arena.allocate(100)] as const;
    arena.free(a);
    for (const bad of [a, b + 64, b + 1, 0, Number.NaN, 2 ** 31])
      expect(
        codeOf(() => arena.free(bad)),
        String(bad),
      ).toBe('NOT_ALLOCATED');
    arena.free(b);
  });

  it('have a size', () => {
    const arena = makeArena();
    for (const bytes of [0, -64, Number.NaN, 0.5]) expect(codeOf(() => arena.allocate(bytes))).toBe('BAD_SIZE');
    expect(codeOf(() => arena.allocate(64, 65))).toBe('BAD_SIZE');
    expect(arena.mapped()).toEqual([]);
  });
});

describe('closing an arena', () => {
  it('unmaps all, closes all files, and is done once', () => {
    const arena = makeArena();
    const segment = arena.mapMemory(PAGE);
    const block = arena.allocate(1000);
    arena.u8[segment.offset] = 1;
    arena.u8[block] = 1;
    const fds = countFds('memfd:linecard');
    expect(fds).toBe(2);
    arena.close();
    expect(countFds('memfd:linecard')).toBe(0);
    expect([arena.u8[segment.offset], arena.u8[block]]).toEqual([0, 0]);
    expect(arena.used).toEqual({ dma: 0, window: 0 });
    arena.close();
  });

  it('leaves views that read and write without harm', () => {
    const arena = makeArena();
    const { offset } = arena.mapMemory(MIB);
    const view = new Int32Array(arena.memory, offset, MIB / 4);
    arena.close();
    view.fill(1);
    expect(view.every((word) => word === 1)).toBe(true);
  });

  it('refuses everything afterwards', () => {
    const arena = makeArena();
    arena.close();
    expect(codeOf(() => arena.mapMemory(PAGE))).toBe('ARENA_CLOSED');
    expect(codeOf(() => arena.mapFd(0, 0, PAGE, { writable: false }))).toBe('ARENA_CLOSED');
    expect(codeOf(() => arena.allocate(1))).toBe('ARENA_CLOSED');
  });

  it('goes on when one segment cannot be unmapped, keeps that range out of use, and tells', () => {
    const arena = new Arena(failing('unmap', -12, 1));
    arena.mapMemory(PAGE);
    arena.mapMemory(2 * PAGE);
    expect(() => arena.close()).toThrow('no luck');
    expect(countFds('memfd:linecard')).toBe(0);
    expect(arena.used.dma).toBe(PAGE);
    expect(arena.mapped()).toEqual([]);
    arena.close();
  });
});

describe('available memory', () => {
  it("is what the machine has, or less by a cgroup's limit", () => {
    const meminfo = 'MemTotal: 100 kB\nMemAvailable:      64 kB\n';
    expect(availableBytes(meminfo, 0, 0)).toBe(65_536);
    expect(availableBytes(meminfo, 2 ** 64, 1000)).toBe(65_536);
    expect(availableBytes(meminfo, 50_000, 20_000)).toBe(30_000);
    expect(availableBytes(meminfo, 10_000, 20_000)).toBe(0);
    expect(availableBytes('', 0, 0)).toBe(Number.POSITIVE_INFINITY);
  });

  it('is some, here and now', () => {
    expect(memoryAvailable()).toBeGreaterThan(MIB);
  });
});
