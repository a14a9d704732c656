/** Whatever applications and the device do, every frame is in one place and packets are those that were sent. */
import { fc, test as property } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { BLOCK } from '../../../lib/drivers/virtio-net/block.ts';
import { KINDS, packetOf, VirtioWorld } from '../../fakes/virtio-queues.ts';

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('device' as const), n: fc.integer({ min: 1, max: 9 }) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('driver' as const), n: fc.integer({ min: 1, max: 9 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const), n: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reset' as const), n: fc.integer({ min: 0, max: 1 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('sleep' as const), n: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('ask' as const), n: fc.integer({ min: 0, max: 1 }) }) },
);
const options = fc.record({
  kind: fc.constantFrom(...KINDS),
  size: fc.constantFrom(2, 4, 8, 32),
  eventIdx: fc.boolean(),
  inOrder: fc.boolean(),
  addresses: fc.boolean(),
});
const lengths = fc.array(fc.integer({ min: 0, max: 1600 }), { minLength: 1, maxLength: 40 });

function reset(world: VirtioWorld, look: () => void, early: boolean): void {
  world.gate.set(false);
  look();
  if (early) {
    world.release();
    look();
  }
  world.resetDevice();
  world.gate.set(true);
  look();
}

describe('A virtio-net queue', () => {
  property.prop([options, fc.array(step, { maxLength: 120 }), lengths], { numRuns: 300 })(
    'for rx: delivers what arrived, in order, and its frames balance after each step',
    (how, steps, sizes) => {
      const world = new VirtioWorld({ ...how, frames: 80 });
      let rx = world.makeRx();
      let arrived = 0;
      const expected: number[] = [];
      const check = () => {
        expect(world.free.free.size + world.held.length).toBe(world.frames);
        expect(world.device.violations).toEqual([]);
      };
      for (const { do: what, n } of steps) {
        if (what === 'device') {
          for (let i = 0; i < n; i++) {
            const length = sizes[arrived % sizes.length];
            if (!world.deliver(packetOf(arrived, length))) break;
            if (length >= 14 && length <= 1518) expected.push(arrived & 0xff);
            arrived++;
          }
        } else if (what === 'driver') {
          const burst = world.burst(n);
          rx.receive(burst);
          for (let i = 0; i < burst.count; i++) {
            const first = (expected.shift() ?? -1) * 7;
            expect(world.bytes[burst.offsets[i]]).toBe(first & 0xff);
          }
          world.stack.give(burst.offsets, 0, burst.count);
        } else if (what === 'restart') rx = world.makeRx();
        else if (what === 'reset') {
          reset(world, () => world.stack.give(world.burst().offsets, 0, rx.receive(world.burst())), n === 1);
          expected.length = 0;
        } else if (what === 'ask') world.device.ask(n === 0 ? 'always' : 'never');
        else {
          expect(rx.arm()).toBe(arrived > 0 && usedWaiting(world, rx));
          rx.disarm();
        }
        check();
      }
    },
  );

  property.prop([options, fc.array(step, { maxLength: 120 }), lengths], { numRuns: 300 })(
    'for tx: sends what it accepted, in order, and its counters and frames balance after each step',
    (how, steps, sizes) => {
      const world = new VirtioWorld({ ...how, frames: 80 });
      let tx = world.makeTx();
      let made = 0;
      const expected: number[] = [];
      for (const { do: what, n } of steps) {
        if (what === 'driver') {
          const burst = world.burst(n);
          const got = world.stack.take(burst.offsets, 0, n);
          for (let i = 0; i < got; i++) {
            burst.lengths[i] = sizes[(made + i) % sizes.length];
            world.bytes[burst.offsets[i]] = (made + i) & 0xff;
          }
          const accepted = tx.transmit(burst, 0, got);
          for (let i = 0; i < accepted; i++) {
            const length = burst.lengths[i];
            if (length >= 14 && length <= 1518) expected.push((made + i) & 0xff);
          }
          made += accepted;
          world.stack.give(burst.offsets, accepted, got);
          tx.kick();
        } else if (what === 'device') {
          for (const { packet } of world.collect(n)) expect(packet[0]).toBe(expected.shift());
        } else if (what === 'restart') tx = world.makeTx();
        else if (what === 'reset') {
          reset(world, () => void tx.reclaim(), n === 1);
          expected.length = 0;
        } else if (what === 'ask') world.device.ask(n === 0 ? 'always' : 'never');
        else tx.reclaim();
        const { packets, completed, runt, oversize, lost, invalid } = world.counters('tx');
        expect(packets - completed - runt - oversize - lost - invalid).toBe(world.held.length);
        expect(world.free.free.size + world.held.length).toBe(world.frames);
        expect(world.device.violations).toEqual([]);
      }
    },
  );

  property.prop(
    [
      fc.constantFrom(...KINDS),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 200 }), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })), {
        maxLength: 60,
      }),
    ],
    { numRuns: 300 },
  )(
    'survives any word that a device writes into its ring: nothing is thrown, no frame is lost or doubled',
    (kind, writes) => {
      const world = new VirtioWorld({ kind, size: 8, frames: 64, mergeable: true, checksum: true, eventIdx: true });
      const rx = world.makeRx();
      const words = new Int32Array(world.memory);
      const areas = [world.place.desc, world.place.device, world.place.driver];
      for (const [at, value] of writes) {
        const area = areas[at % 3];
        words[(area >>> 2) + (at % 18)] = value;
        const burst = world.burst(4);
        rx.receive(burst);
        const offsets = new Set([...burst.offsets.subarray(0, burst.count)].map((offset) => offset & ~2047));
        expect(offsets.size).toBe(burst.count);
        expect(world.free.free.size + world.held.length + burst.count).toBe(world.frames);
        world.stack.give(burst.offsets, 0, burst.count);
        if (world.words[BLOCK.trouble] !== 0) reset(world, () => void rx.receive(world.burst()), at % 2 === 0);
      }
    },
  );
});

/** Whether a used buffer waits: looked at by receiving nothing. */
function usedWaiting(world: VirtioWorld, rx: ReturnType<VirtioWorld['makeRx']>): boolean {
  rx.disarm();
  return rx.arm() && world.device.violations.length === 0;
}
