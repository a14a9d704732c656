/** Tx queues of gigabit controllers, with a fake device on the other side of the ring. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { MORE } from '../../../lib/queue.ts';
import { type GbeOptions, GbeWorld } from '../../fakes/gbe-world.ts';

async function start(options: GbeOptions = {}): Promise<GbeWorld> {
  const world = await GbeWorld.start(options);
  onTestFinished(() => world.stop());
  return world;
}

const KINDS: readonly (readonly [string, GbeOptions])[] = [
  ['extended descriptors', {}],
  ['legacy descriptors', { wishes: { legacy: true } }],
  ['addresses from a table', { far: true, nommu: true }],
  ['advanced descriptors', { family: 82576 }],
];

describe.each(KINDS)('A tx queue with %s', (_, options) => {
  test('sends packets in order, as they are, when it is kicked, round and round the ring', async () => {
    const world = await start(options);
    const tx = world.makeTx();
    let sent = 0;
    for (let n = 0; n < 40; n++) {
      const lengths = Array.from({ length: 1 + (n % 31) }, (_, i) => 60 + ((n * 31 + i) % 1450));
      const burst = world.burstOf(...lengths);
      const before = world.fake.sent.length;
      expect(tx.transmit(burst, 0, burst.count)).toBe(burst.count);
      world.fake.tick();
      expect(world.fake.sent.length).toBe(before);
      tx.kick();
      world.fake.tick();
      expect(world.fake.sent.slice(before).map((packet) => packet.length)).toEqual(lengths);
      expect(world.fake.sent.slice(before).map(([first]) => first)).toEqual(lengths.map((_, i) => i + 1));
      sent += burst.count;
      expect(tx.reclaim()).toBe(0);
    }
    expect(world.txCounters()).toMatchObject({ packets: sent, completed: sent });
    expect(world.free.free.size).toBe(world.frames);
  });

  test('takes what there is room for, and more when the device has sent something', async () => {
    const world = await start(options);
    const tx = world.makeTx();
    const burst = world.burstOf(...Array.from({ length: 80 }, () => 60));
    expect(tx.transmit(burst, 0, 80)).toBe(63);
    expect(tx.transmit(burst, 63, 80)).toBe(0);
    expect([...world.queues.tx[0].held()].length).toBe(63);
    tx.kick();
    world.fake.tick();
    expect(tx.transmit(burst, 63, 80)).toBe(17);
    tx.kick();
    world.fake.tick();
    expect(tx.reclaim()).toBe(0);
    expect(world.txCounters()).toEqual({ packets: 80, bytes: 4800, completed: 80 });
  });

  test('gives back only what the device says is done', async () => {
    const world = await start(options);
    const tx = world.makeTx();
    world.fake.faults.send = true;
    const burst = world.burstOf(60, 60, 60);
    expect(tx.transmit(burst, 0, 2)).toBe(2);
    expect(tx.transmit(burst, 2, 3)).toBe(1);
    tx.kick();
    world.fake.tick();
    expect(tx.reclaim()).toBe(3);
    world.fake.faults.send = false;
    world.fake.tick();
    expect(tx.reclaim()).toBe(0);
  });

  test('frees what must not reach the wire, and counts it', async () => {
    const world = await start(options);
    const tx = world.makeTx();
    const burst = world.burstOf(60, 13, 1519, 60, 0, -1, 1 << 20, 60);
    expect(tx.transmit(burst, 0, 8)).toBe(8);
    tx.kick();
    world.fake.tick();
    tx.reclaim();
    expect(world.fake.sent.map(([first]) => first)).toEqual([1, 4, 8]);
    expect(world.txCounters()).toEqual({ packets: 8, bytes: 180, completed: 3, runt: 3, oversize: 2 });
    expect(world.free.free.size).toBe(world.frames);
  });

  test('pads with zeros what is too short for the device to pad it', async () => {
    const world = await start(options);
    const tx = world.makeTx();
    const burst = world.burstOf(14, 16, 17);
    expect(tx.transmit(burst, 0, 3)).toBe(3);
    tx.kick();
    world.fake.tick();
    expect(world.fake.sent.map((packet) => packet.slice(13, 18))).toEqual([
      [1, 0, 0, 0, 0],
      [2, 2, 2, 0, 0],
      [3, 3, 3, 3, 0],
    ]);
    expect(world.txCounters()).toMatchObject({ packets: 3, bytes: 47 });
  });

  test('goes on where the worker before it stopped, and tells the device what that had not', async () => {
    const world = await start(options);
    world.makeTx().transmit(world.burstOf(60, 61), 0, 2);
    const tx = world.makeTx();
    tx.kick();
    world.fake.tick();
    expect(world.fake.sent.map((packet) => packet.length)).toEqual([60, 61]);
    expect(tx.reclaim()).toBe(0);
  });
});

describe('A tx queue', () => {
  test('refuses a packet that does not lie in one frame', async () => {
    const world = await start();
    const tx = world.makeTx();
    const burst = world.burstOf(1000, 60, 14);
    burst.offsets[0] += 1024;
    burst.offsets[2] += 1780;
    expect(tx.transmit(burst, 0, 3)).toBe(3);
    tx.kick();
    world.fake.tick();
    expect(tx.reclaim()).toBe(0);
    expect(world.txCounters()).toEqual({ packets: 3, bytes: 60, completed: 1, invalid: 2 });
  });

  test('of a port without segments throws them out whole', async () => {
    const world = await start();
    const tx = world.makeTx();
    const burst = world.burstOf(MORE + 60, MORE + 60, 60, 61, MORE + 60);
    expect(tx.transmit(burst, 0, 5)).toBe(5);
    tx.kick();
    world.fake.tick();
    tx.reclaim();
    expect(world.fake.sent.map((packet) => packet.length)).toEqual([61]);
    expect(world.txCounters()).toEqual({ packets: 3, extra_frames: 2, bytes: 61, completed: 1, oversize: 4 });
  });

  test('counts as stopped what is in the ring when the port stops', async () => {
    const world = await start();
    world.makeTx().transmit(world.burstOf(60, 60), 0, 2);
    const [queue] = world.queues.tx;
    expect([...queue.held()].length).toBe(2);
    queue.clear();
    expect([...queue.held()]).toEqual([]);
    expect(world.txCounters()).toMatchObject({ packets: 2, stopped: 2 });
  });
});

describe('A tx queue of a port with long packets', () => {
  const jumbo: GbeOptions = { config: { mtu: 9000, txRing: 64 } };

  test('sends segments as one packet', async () => {
    const world = await start(jumbo);
    const tx = world.makeTx();
    const burst = world.burstOf(60, MORE + 1792, MORE + 1792, 100, MORE + 14, 3, 70);
    expect(tx.transmit(burst, 0, 7)).toBe(7);
    tx.kick();
    world.fake.tick();
    expect(world.fake.sent.map((packet) => packet.length)).toEqual([60, 3684, 60, 70]);
    const [, packet] = world.fake.sent;
    expect([packet[0], packet[1792], packet[3584]]).toEqual([2, 3, 4]);
    expect(tx.reclaim()).toBe(0);
    expect(world.txCounters()).toEqual({ packets: 4, extra_frames: 3, bytes: 60 + 3684 + 17 + 70, completed: 7 });
  });

  test('takes a packet whole or not at all', async () => {
    const world = await start(jumbo);
    const tx = world.makeTx();
    world.fake.faults.send = true;
    expect(tx.transmit(world.burstOf(...Array.from({ length: 61 }, () => 60)), 0, 61)).toBe(61);
    const burst = world.burstOf(MORE + 60, MORE + 60, 60);
    expect(tx.transmit(burst, 0, 3)).toBe(0);
    world.fake.faults.send = false;
    tx.kick();
    world.fake.tick();
    expect(tx.transmit(burst, 0, 3)).toBe(3);
    tx.kick();
    world.fake.tick();
    expect(world.fake.sent.at(-1)?.length).toBe(180);
  });

  test('refuses whole what has an impossible segment, or no end', async () => {
    const world = await start(jumbo);
    const tx = world.makeTx();
    const burst = world.burstOf(
      MORE + 13,
      60,
      MORE + 60,
      0,
      MORE + 14,
      1,
      MORE + 2049,
      60,
      MORE + 1700,
      1900,
      MORE + 60,
    );
    expect(tx.transmit(burst, 0, 11)).toBe(11);
    tx.kick();
    world.fake.tick();
    tx.reclaim();
    expect(world.fake.sent).toEqual([]);
    expect(world.txCounters()).toEqual({ packets: 6, extra_frames: 5, runt: 6, oversize: 3, invalid: 2 });
    expect(world.free.free.size).toBe(world.frames);
  });
});
