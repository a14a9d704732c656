/** The vhost-user protocol with DPDK's testpmd at the other end: as front end and as back end, in both socket roles. */
import { rmSync } from 'node:fs';
import { afterEach, describe, expect } from 'vitest';
import { Arena } from '../../lib/arena/arena.ts';
import { FramePool } from '../../lib/arena/frame-pool.ts';
import { vhostDevio } from '../../lib/devios/vhost.ts';
import { vhostUserDevio } from '../../lib/devios/vhost-user.ts';
import { SOCKET_ENUMERATOR_API, socketFacts } from '../../lib/enumerators/socket.ts';
import type { Device } from '../../lib/framework/types.ts';
import type { VhostDevio } from '../../lib/vhost-user/types.ts';
import { hasFeature } from '../../lib/virtio/features.ts';
import type { VirtioDevio } from '../../lib/virtio/transport.ts';
import { loadNative } from '../../native/index.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { waitFor } from '../fakes/netns.ts';
import { FakeOwner } from '../fakes/ring-owner.ts';
import { Testpmd } from '../fakes/testpmd.ts';
import { testWith } from '../fakes/tools.ts';

const native = loadNative();
const inFolder = temporaryFolder();
let made = 0;
const cleanUp: (() => void | Promise<void>)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

function world() {
  const arena = new Arena(native);
  const frames = new FramePool(arena, { frames: 256 });
  cleanUp.push(() => {
    frames.close();
    arena.close();
  });
  const path = inFolder(`testpmd-${made++}`);
  const deviceOf = (name: string) => ({ facts: socketFacts(name) }) as unknown as Device;
  return {
    path,
    testpmd(vdev: string, ...options: readonly string[]): Testpmd {
      // testpmd leaves its socket behind when it is killed, and does not take it over.
      if (/iface=(?!.*client=1)|server=1/.test(vdev)) rmSync(path, { force: true });
      const it = new Testpmd(vdev, ...options);
      cleanUp.push(() => it.kill());
      return it;
    },
    backEnd(options = '', pairs = 1) {
      const owner = new FakeOwner(pairs);
      const provider = vhostDevio(arena, frames, SOCKET_ENUMERATOR_API);
      const devio = provider.open(deviceOf(`vhost-user:${path}${options}`)) as VhostDevio;
      cleanUp.push(async () => {
        await devio.close();
        expect(owner.wrong).toEqual([]);
      });
      devio.serve(owner);
      return { devio, owner };
    },
    async frontEnd(options = '') {
      const provider = vhostUserDevio(arena, frames, SOCKET_ENUMERATOR_API);
      const devio = (await provider.open(deviceOf(`virtio-user:${path},wait=9${options}`))) as VirtioDevio;
      cleanUp.push(() => devio.close());
      const heard: string[] = [];
      devio.transport.watch({
        configChanged() {},
        needsReset() {},
        lost: () => heard.push('lost'),
        back: () => heard.push('back'),
      });
      return { devio, heard };
    },
  };
}

async function bringUp(devio: VirtioDevio, queues: number, packed: boolean): Promise<void> {
  const { transport } = devio;
  await transport.reset();
  await transport.setStatus(3);
  const features = await transport.deviceFeatures();
  expect(hasFeature(features, 'VERSION_1')).toBe(true);
  expect(hasFeature(features, 'RING_PACKED')).toBe(packed);
  await transport.setDriverFeatures(features);
  await transport.setStatus(11);
  expect((await transport.status()) & 8).toBe(8);
  for (let q = 0; q < queues; q++) {
    const place = (): number => devio.allocateShared(4096, 64);
    await transport.startQueue(q, { size: 256, packed, desc: place(), driver: place(), device: place() });
  }
  await transport.setStatus(15);
  if (queues > 2) expect(await transport.command?.(4, 0, Uint8Array.of(queues / 2, 0))).toBe(0);
}

const KINDS = [
  ['split', 1, 'server'],
  ['packed', 1, 'server'],
  ['split', 2, 'server'],
  ['packed', 2, 'client'],
  ['split', 1, 'client'],
] as const;

describe('testpmd is the back end (net_vhost)', () => {
  for (const [kind, pairs, role] of KINDS) {
    const title = `and the ${role}: ${pairs} pairs of ${kind} rings come up, it is killed, comes back, and they come up again`;
    testWith('dpdk-testpmd', title, async () => {
      const w = world();
      const packed = kind === 'packed';
      const vdev = `net_vhost0,iface=${w.path},queues=${pairs}${role === 'client' ? ',client=1' : ''}`;
      const ours = `${role === 'client' ? ',server=1' : ''}${packed ? ',packed=1' : ''}${pairs > 1 ? `,queues=${pairs}` : ''}`;
      const queues = [`--rxq=${pairs}`, `--txq=${pairs}`];
      const ready = `virtio is now ready for processing`;
      const first = w.testpmd(vdev, ...queues);
      const { devio, heard } = await w.frontEnd(ours);
      await bringUp(devio, pairs * 2, packed);
      await first.says(ready);
      await first.kill();
      // From its end on: a busy machine takes a second to take a process with that much memory down.
      await waitFor('it is lost', () => heard.includes('lost'), 100);
      const second = w.testpmd(vdev, ...queues);
      await waitFor('it is back', () => heard.includes('back'), 10_000);
      await bringUp(devio, pairs * 2, packed);
      await second.says(ready);
    });
  }
});

describe('testpmd is the front end (net_virtio_user)', () => {
  for (const [kind, pairs, role] of KINDS) {
    const title = `and the ${role === 'server' ? 'client' : 'server'}: ${pairs} pairs of ${kind} rings run, it is killed, another one comes and closes them`;
    testWith('dpdk-testpmd', title, async () => {
      const w = world();
      const packed = kind === 'packed';
      const theirs = `${role === 'client' ? ',server=1' : ''}${packed ? ',packed_vq=1' : ''},queues=${pairs}`;
      const vdev = `net_virtio_user0,path=${w.path}${theirs},queue_size=256`;
      const queues = [`--rxq=${pairs}`, `--txq=${pairs}`];
      const { devio, owner } = w.backEnd(role === 'client' ? ',client=1' : '', pairs);
      const up = () =>
        waitFor(
          'all rings run',
          () => owner.running.size === pairs * 2 && [...owner.running.values()].every((ring) => ring.packed === packed),
          15_000,
        );
      const first = w.testpmd(vdev, ...queues);
      await first.says('testpmd> ', 15_000);
      await up();
      // What it has put into its receive ring is seen: the first descriptor's length is that of a buffer.
      const { desc, regions } = owner.running.get(0)!;
      const view = new DataView(devio.windows[desc.window]!);
      const [low, high] = [view.getUint32(desc.offset, true), view.getUint32(desc.offset + 4, true)];
      const at = high * 2 ** 32 + low;
      expect(view.getUint32(desc.offset + 8, true)).toBeGreaterThan(1500);
      expect(regions.some(({ gpa, bytes }) => at >= gpa && at < gpa + bytes)).toBe(true);

      await first.kill();
      await waitFor('it is told', () => owner.log.at(-1)?.startsWith('disconnected') === true, 100);
      const second = w.testpmd(vdev, ...queues);
      await second.says('testpmd> ', 15_000);
      await up();
      await second.command('port stop 0');
      await second.command('port close 0');
      await waitFor('all rings stop', () => owner.running.size === 0);
    });
  }
});
