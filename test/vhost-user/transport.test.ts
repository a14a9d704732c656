/** Both ends of ours against each other: a driver's transport and a back end, joined by a real socket. */
import { afterEach, describe, expect, it } from 'vitest';
import { Arena } from '../../lib/arena/arena.ts';
import { FramePool } from '../../lib/arena/frame-pool.ts';
import { vhostDevio } from '../../lib/devios/vhost.ts';
import { vhostUserDevio } from '../../lib/devios/vhost-user.ts';
import { SOCKET_ENUMERATOR_API, socketFacts } from '../../lib/enumerators/socket.ts';
import type { Device } from '../../lib/framework/types.ts';
import type { VhostDevio } from '../../lib/vhost-user/types.ts';
import { featureSet, hasFeature } from '../../lib/virtio/features.ts';
import type { VirtioDevio } from '../../lib/virtio/transport.ts';
import { loadNative } from '../../native/index.ts';
import { openFds } from '../fakes/fds.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { waitFor } from '../fakes/netns.ts';
import { FakeOwner } from '../fakes/ring-owner.ts';

const native = loadNative();
const inFolder = temporaryFolder();
let made = 0;
const cleanUp: (() => void | Promise<void>)[] = [];
let fdsBefore: Map<number, string>;

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
  expect([...openFds()].filter(([fd, what]) => fdsBefore.get(fd) !== what)).toEqual([]);
});

/** Ports at the ends of one socket, made when asked for. */
function socket() {
  if (cleanUp.length === 0) fdsBefore = openFds();
  const arena = new Arena(native);
  const frames = new FramePool(arena, { frames: 64 });
  cleanUp.push(() => {
    frames.close();
    arena.close();
  });
  const path = inFolder(`transport-${made++}`);
  const deviceOf = (name: string) => ({ facts: socketFacts(name) }) as unknown as Device;
  return {
    ...{ arena, frames, path },
    backEnd(options = '', owner = new FakeOwner()): { devio: VhostDevio; owner: FakeOwner } {
      const provider = vhostDevio(arena, frames, SOCKET_ENUMERATOR_API);
      const devio = provider.open(deviceOf(`vhost-user:${path},memory=1${options}`)) as VhostDevio;
      cleanUp.push(async () => {
        await devio.close();
        expect(owner.wrong).toEqual([]);
      });
      devio.serve(owner);
      return { devio, owner };
    },
    async frontEnd(options = '') {
      const provider = vhostUserDevio(arena, frames, SOCKET_ENUMERATOR_API, 1000);
      const devio = (await provider.open(deviceOf(`virtio-user:${path}${options}`))) as VirtioDevio;
      cleanUp.push(() => devio.close());
      const heard: string[] = [];
      devio.transport.watch({
        configChanged: () => heard.push('config'),
        needsReset: () => heard.push('reset'),
        lost: (why) => heard.push(`lost: ${why}`),
        back: () => heard.push('back'),
      });
      return { devio, heard };
    },
  };
}

/** What a driver does, virtio 1.2 §3.1.1. */
async function bringUp({ transport, allocateShared }: VirtioDevio, share: VirtioDevio, queues = 2, packed = false) {
  await transport.reset();
  await transport.setStatus(3);
  const features = await transport.deviceFeatures();
  await transport.setDriverFeatures(features);
  await transport.setStatus(11);
  expect((await transport.status()) & 8).toBe(8);
  const places: number[] = [];
  for (let q = 0; q < queues; q++) {
    const [desc, driver, device] = [0, 1, 2].map(() => allocateShared.call(share, 4096, 64)) as [
      number,
      number,
      number,
    ];
    places.push(desc);
    await transport.startQueue(q, { size: 256, packed, desc, driver, device });
  }
  await transport.setStatus(15);
  return { features, places };
}
const up = (devio: VirtioDevio, queues?: number, packed?: boolean) => bringUp(devio, devio, queues, packed);

describe('a virtio-user transport over our own back end', () => {
  it.each([
    ['split', false],
    ['packed', true],
  ])('brings up %s rings, and both see the same bytes', async (_kind, packed) => {
    const s = socket();
    const { devio: back, owner } = s.backEnd();
    const { devio } = await s.frontEnd(packed ? ',packed=1' : '');
    const { features, places } = await up(devio, 2, packed);
    expect(hasFeature(features, 'RING_PACKED')).toBe(packed);
    expect([...owner.running.keys()]).toEqual([0, 1]);
    const ring = owner.running.get(0)!;
    expect(ring).toMatchObject({ size: 256, packed, enabled: true });
    expect(owner.log).toEqual([`connected ${process.getuid!()}`, 'start 0', 'start 1']);
    new Uint8Array(s.arena.memory)[places[0]!] = 123;
    expect(new Uint8Array(back.windows[ring.desc.window]!)[ring.desc.offset]).toBe(123);
    // An arena offset is the address of a frame.
    const frame = s.frames.plan.base + 4096;
    const piece = ring.regions.find(({ gpa, bytes }) => frame >= gpa && frame < gpa + bytes)!;
    new Uint8Array(s.arena.memory)[frame] = 77;
    expect(new Uint8Array(back.windows[piece.window]!)[piece.offset + frame - piece.gpa]).toBe(77);
  });

  it('shows the back end the frames and the rings, and nothing of the heap', async () => {
    const s = socket();
    const { owner } = s.backEnd();
    const { devio } = await s.frontEnd();
    const secret = devio.allocate(4096);
    await up(devio);
    const { regions } = owner.running.get(0)!;
    expect(regions).toHaveLength(2);
    expect(regions.some(({ gpa, bytes }) => secret >= gpa && secret < gpa + bytes)).toBe(false);
    const bytes = regions.reduce((sum, region) => sum + region.bytes, 0);
    expect(bytes).toBe(s.frames.segment.length + 1024 * 1024);
  });

  it('kicks and calls through the same eventfds for ever', async () => {
    const s = socket();
    const { owner } = s.backEnd();
    const { devio } = await s.frontEnd();
    const { fd } = devio.transport.notifier(0);
    const call = devio.transport.interrupts([0]).get(0)!.fd;
    await up(devio);
    const epoll = native.epollCreate();
    native.epollAdd(epoll, owner.running.get(0)!.kick);
    expect(native.epollWait(epoll, 0)).toBe(0);
    native.notify(fd);
    expect(native.epollWait(epoll, 0)).toBe(1);
    const other = native.epollCreate();
    native.epollAdd(other, call);
    native.notify(owner.running.get(0)!.call);
    expect(native.epollWait(other, 0)).toBe(1);
    for (const set of [epoll, other]) native.close(set);
    expect(devio.transport.notifier(0).fd).toBe(fd);
    expect(devio.transport.interrupts([0]).get(0)!.fd).toBe(call);
  });

  it('makes up a configuration: address, link, pairs, MTU', async () => {
    const s = socket();
    s.backEnd('', new FakeOwner(2));
    const { devio } = await s.frontEnd(',queues=2,mac=02:00:00:00:00:05,mtu=9000');
    const config = await devio.transport.readConfig(0, 12);
    expect([...config]).toEqual([2, 0, 0, 0, 0, 5, 0, 0, 2, 0, 0x28, 0x23]);
    const features = await devio.transport.deviceFeatures();
    for (const name of ['MAC', 'STATUS', 'MQ', 'MTU', 'CTRL_VQ'] as const)
      expect(hasFeature(features, name)).toBe(true);
  });

  it('takes link and MTU from a back end that has a configuration, and hears when it changes', async () => {
    const s = socket();
    const owner = new FakeOwner();
    owner.bytes.set([1, 0], 6);
    owner.bytes.set([0xdc, 0x05], 10);
    const { devio: back } = s.backEnd('', owner);
    const { devio, heard } = await s.frontEnd();
    expect([...(await devio.transport.readConfig(6, 6))]).toEqual([1, 0, 1, 0, 0xdc, 0x05]);
    owner.bytes.set([0, 0], 6);
    back.configChanged();
    await waitFor('it is heard', () => heard.includes('config'));
    expect([...(await devio.transport.readConfig(6, 2))]).toEqual([0, 0]);
  });

  it('tells the back end of the MTU that was asked for', async () => {
    const s = socket();
    const { owner } = s.backEnd();
    const { devio } = await s.frontEnd(',mtu=4000');
    await up(devio);
    expect(owner.log).toContain('mtu 4000');
  });

  it('does commands itself: pairs, address, promiscuous', async () => {
    const s = socket();
    const { owner } = s.backEnd('', new FakeOwner(2));
    const { devio } = await s.frontEnd(',queues=2');
    await up(devio, 4);
    const { transport } = devio;
    const command = (a: number, b: number, ...data: number[]) => transport.command!(a, b, Uint8Array.from(data));
    const on = () => owner.log.filter((entry) => /^enable [23] on$/.test(entry)).length;
    expect(on()).toBe(0);
    expect(await command(4, 0, 2, 0)).toBe(0);
    expect(on()).toBe(2);
    expect(await command(4, 0, 1, 0)).toBe(0);
    expect(owner.log.slice(-4)).toContain('enable 3 off');
    expect(await command(4, 0, 3, 0)).toBe(1);
    expect(await command(4, 0, 0, 0)).toBe(1);
    expect(await command(0, 0, 1)).toBe(0);
    expect(await command(1, 1, 2, 9, 9, 9, 9, 9)).toBe(0);
    expect([...(await transport.readConfig(0, 6))]).toEqual([2, 9, 9, 9, 9, 9]);
    expect(await command(9, 9)).toBe(1);
  });

  it('resets: rings stop, and can be brought up again', async () => {
    const s = socket();
    const { owner } = s.backEnd();
    const { devio } = await s.frontEnd();
    await up(devio);
    await devio.transport.reset();
    expect(owner.running.size).toBe(0);
    expect(await devio.transport.status()).toBe(0);
    await up(devio);
    expect(owner.running.size).toBe(2);
  });

  it('resets one queue alone, where the back end has that', async () => {
    const s = socket();
    const owner = new FakeOwner();
    owner.features |= featureSet('RING_RESET');
    s.backEnd('', owner);
    const { devio } = await s.frontEnd();
    const { places } = await up(devio);
    await devio.transport.resetQueue(0);
    expect([...owner.running.keys()]).toEqual([1]);
    const [desc, driver, device] = [0, 1, 2].map(() => devio.allocateShared(2048, 64)) as [number, number, number];
    await devio.transport.startQueue(0, { size: 64, packed: false, desc, driver, device });
    expect(owner.running.get(0)).toMatchObject({ size: 64 });
    expect(places).not.toContain(desc);
  });

  it('without features of its port name goes without them', async () => {
    const s = socket();
    s.backEnd();
    const { devio } = await s.frontEnd(',mergeable=0,event-idx=0');
    const features = await devio.transport.deviceFeatures();
    expect(hasFeature(features, 'MRG_RXBUF')).toBe(false);
    expect(hasFeature(features, 'EVENT_IDX')).toBe(false);
    expect(hasFeature(features, 'INDIRECT_DESC')).toBe(true);
  });
});

describe('a back end that is not there', () => {
  it('fails the open with what to do, in both roles', async () => {
    const s = socket();
    const start = performance.now();
    await expect(s.frontEnd(',wait=0')).rejects.toMatchObject({ code: 'NO_BACKEND' });
    await expect(s.frontEnd(',wait=0')).rejects.toThrow('nobody listens at');
    await expect(s.frontEnd(',wait=0,server=1')).rejects.toThrow('nobody has connected');
    expect(performance.now() - start).toBeLessThan(1000);
  });

  it('may come while the port is being opened', async () => {
    const s = socket();
    const opening = s.frontEnd();
    setTimeout(() => s.backEnd(), 150);
    const { devio } = await opening;
    await up(devio);
  });

  it('is not what was asked for: too few queues, no packed rings', async () => {
    const s = socket();
    const owner = new FakeOwner();
    owner.features &= ~featureSet('RING_PACKED');
    s.backEnd('', owner);
    await expect(s.frontEnd(',queues=2')).rejects.toThrow('it has 1 queue pairs, not 2');
    await expect(s.frontEnd(',packed=1')).rejects.toMatchObject({ code: 'BACKEND_UNFIT' });
  });
});

describe.each([
  ['client', '', ''],
  ['server', ',server=1', ',client=1'],
])('a back end that goes and comes back, we are the %s', (_role, mine, theirs) => {
  async function start() {
    const s = socket();
    const opening = mine === '' ? undefined : s.frontEnd(mine);
    const first = s.backEnd(theirs);
    const { devio, heard } = await (opening ?? s.frontEnd(mine));
    await up(devio);
    return { s, first, devio, heard };
  }

  it('is lost within 100 ms, back within 300 ms, and brought up anew with everything', async () => {
    const { s, first, devio, heard } = await start();
    const { fd } = devio.transport.notifier(0);
    let at = performance.now();
    void first.devio.close();
    await waitFor('it is lost', () => heard.some((what) => what.startsWith('lost')));
    expect(performance.now() - at).toBeLessThan(100);
    await expect(devio.transport.status()).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    await expect(devio.transport.reset()).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    await first.devio.close();
    at = performance.now();
    const second = s.backEnd(theirs);
    await waitFor('it is back', () => heard.at(-1) === 'back');
    expect(performance.now() - at).toBeLessThan(300);
    await up(devio);
    expect(second.owner.running.size).toBe(2);
    expect(devio.transport.notifier(0).fd).toBe(fd);
    expect(heard.filter((what) => what === 'back')).toHaveLength(1);
  });

  it('must have the features that were negotiated, or it is told why not', async () => {
    const { s, first, heard } = await start();
    await first.devio.close();
    const poorer = new FakeOwner();
    poorer.features &= ~featureSet('MRG_RXBUF');
    const wrong = s.backEnd(theirs, poorer);
    await waitFor('it is refused', () => heard.some((what) => what.includes('it lacks MRG_RXBUF')));
    expect(heard).not.toContain('back');
    await wrong.devio.close();
    s.backEnd(theirs);
    await waitFor('the right one is taken', () => heard.at(-1) === 'back');
  });

  it('twenty times leaves no fd', async () => {
    const { s, first, devio, heard } = await start();
    let current = first.devio;
    const before = openFds().size;
    for (let i = 0; i < 20; i++) {
      await current.close();
      current = s.backEnd(theirs).devio;
      await waitFor('it is back', () => heard.filter((what) => what === 'back').length === i + 1);
      await up(devio);
      for (let q = 0; q < 2; q++) await devio.transport.resetQueue(q);
    }
    await up(devio);
    expect(openFds().size).toBe(before);
  });
});
