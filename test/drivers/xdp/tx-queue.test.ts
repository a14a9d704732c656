import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { inFlightOf, POOL, XskWorld } from '../../fakes/xsk-kernel.ts';

const EAGAIN = 11;
const EBUSY = 16;
const ENXIO = 6;
const ENETDOWN = 100;
const ENOBUFS = 105;
const EINVAL = 22;
const EOPNOTSUPP = 95;

test('Frames leave in order, and are free again when the kernel has completed them', () => {
  const world = new XskWorld();
  const tx = world.makeTx();
  const burst = world.burstOf(60, 61, 62);
  expect(tx.transmit(burst, 0, 3)).toBe(3);
  tx.kick();
  expect(world.sent).toEqual([0, 1, 2].map((i) => ({ offset: burst.offsets[i], length: 60 + i })));
  expect(tx.reclaim()).toBe(0);
  expect(world.stack.free.size).toBe(64);
  expect(world.counters.tx).toMatchObject({ packets: 3, bytes: 183, completed: 3 });
});

test('Descriptors have no options, and no more than 32 bits of address', () => {
  const world = new XskWorld();
  const tx = world.makeTx();
  tx.transmit(world.burstOf(60), 0, 1);
  expect(world.tx.take()).toEqual({ address: BigInt(POOL.headroom), length: 60, options: 0 });
});

test('A full ring takes fewer, and takes the rest when there is room', () => {
  const world = new XskWorld();
  const tx = world.makeTx();
  const burst = world.burstOf(...Array(20).fill(60));
  expect(tx.transmit(burst, 0, 20)).toBe(16);
  expect(tx.transmit(burst, 16, 20)).toBe(0);
  tx.kick();
  expect(tx.transmit(burst, 16, 20)).toBe(4);
  tx.kick();
  expect(tx.reclaim()).toBe(0);
  expect(world.sent.map(({ offset }) => offset)).toEqual([...burst.offsets]);
});

test.each([
  ['runt', 13],
  ['runt', 0],
  ['invalid', -1],
  ['oversize', 1519],
])('A frame counted as %s never reaches the ring: %d bytes', (reason, length) => {
  const world = new XskWorld();
  const tx = world.makeTx();
  expect(tx.transmit(world.burstOf(length, 60), 0, 2)).toBe(2);
  expect(world.tx.used).toBe(1);
  expect(world.tx.take()!.length).toBe(60);
  expect(world.counters.tx).toMatchObject({ packets: 2, [reason]: 1 });
  expect(inFlightOf(world.counters.tx)).toBe(1);
  expect(world.stack.free.size).toBe(63);
});

test('A frame outside of the pool, or one that would leave its own, never reaches the ring', () => {
  const world = new XskWorld({ maxLength: 4000 });
  const tx = world.makeTx();
  const burst = world.burstOf(60, 60, 1900, 60);
  const frame = burst.offsets[0];
  burst.offsets[0] = POOL.base - 2048;
  burst.offsets[1] = POOL.base + 64 * 2048;
  world.stack.push(frame);
  expect(tx.transmit(burst, 0, 4)).toBe(4);
  expect(world.tx.used).toBe(1);
  expect(world.counters.tx).toMatchObject({ packets: 4, invalid: 3 });
});

test('A frame offered a second time is refused: the kernel never has it twice', () => {
  const world = new XskWorld();
  const tx = world.makeTx();
  const burst = world.burstOf(60);
  tx.transmit(burst, 0, 1);
  expect(tx.transmit(burst, 0, 1)).toBe(1);
  tx.kick();
  expect(world.sent.length).toBe(1);
  expect(tx.reclaim()).toBe(0);
  expect(world.counters.tx).toMatchObject({ packets: 2, completed: 1, invalid: 1 });
});

test('Nothing new, nothing waiting: no system call', () => {
  const world = new XskWorld();
  const tx = world.makeTx();
  tx.kick();
  tx.transmit(world.burstOf(60), 0, 1);
  tx.kick();
  tx.kick();
  expect(world.calls.tx).toBe(1);
});

const burstOf32 = (world: XskWorld) => world.burstOf(...Array(32).fill(60));

test('Under load one call sends several bursts, as many as the kernel sends at once', () => {
  const world = new XskWorld({ frames: 256, ring: 256, budget: 128 });
  const tx = world.makeTx();
  const calls = [1, 2, 3, 4, 5].map(() => {
    tx.transmit(burstOf32(world), 0, 32);
    tx.kick();
    return world.calls.tx;
  });
  expect(calls).toEqual([0, 0, 0, 1, 1]);
  expect(world.sent.length).toBe(128);
});

test('What was put off leaves with the next kick, new packets or not', () => {
  for (const more of [0, 1]) {
    const world = new XskWorld({ ring: 128, budget: 128 });
    const tx = world.makeTx();
    tx.transmit(burstOf32(world), 0, 32);
    tx.kick();
    expect(world.calls.tx).toBe(0);
    if (more > 0) tx.transmit(world.burstOf(60), 0, more);
    tx.kick();
    expect([world.calls.tx, world.sent.length]).toEqual([1, 32 + more]);
  }
});

test('Before frames are taken back, what was put off is sent: nobody stands still with packets that the kernel does not know of', () => {
  const world = new XskWorld({ ring: 128, budget: 128 });
  const tx = world.makeTx();
  tx.transmit(burstOf32(world), 0, 32);
  tx.kick();
  expect(tx.reclaim()).toBe(0);
  expect([world.calls.tx, world.sent.length]).toEqual([1, 32]);
  tx.reclaim();
  expect(world.calls.tx).toBe(1);
});

test('A burst that is no load is sent at once; so is every burst when one call sends no more than that', () => {
  const world = new XskWorld({ ring: 128, budget: 128 });
  const tx = world.makeTx();
  tx.transmit(world.burstOf(...Array(31).fill(60)), 0, 31);
  tx.kick();
  expect(world.sent.length).toBe(31);
  const old = new XskWorld({ ring: 128, budget: 32 });
  const oldTx = old.makeTx();
  oldTx.transmit(burstOf32(old), 0, 32);
  oldTx.kick();
  expect(old.sent.length).toBe(32);
});

test('A kernel that works by itself is not called', () => {
  const world = new XskWorld();
  world.tx.flags = 0;
  const tx = world.makeTx();
  tx.transmit(world.burstOf(60), 0, 1);
  tx.kick();
  expect(world.calls.tx).toBe(0);
});

test("A packet that the kernel completed with EBUSY, without sending it, counts as the kernel's", () => {
  const world = new XskWorld();
  const tx = world.makeTx();
  tx.transmit(world.burstOf(60, 61, 62), 0, 3);
  world.answers.push({ errno: EBUSY, sends: 1 });
  tx.kick();
  expect(world.calls.tx).toBe(2);
  expect(tx.reclaim()).toBe(0);
  expect(world.counters.tx).toMatchObject({ packets: 3, completed: 2, kernel: 1 });
  expect(world.stack.free.size).toBe(64);
});

test('EAGAIN is tried again until the ring is empty, and costs nothing', () => {
  const world = new XskWorld({ ring: 64 });
  const tx = world.makeTx();
  tx.transmit(world.burstOf(...Array(60).fill(60)), 0, 60);
  world.answers.push({ errno: EAGAIN, sends: 32 });
  tx.kick();
  expect([world.calls.tx, world.sent.length]).toEqual([2, 60]);
  tx.reclaim();
  expect(world.counters.tx).toMatchObject({ completed: 60, kernel: 0 });
});

test('A kernel that always says EAGAIN is given up for this burst, and asked again with the next kick', () => {
  const world = new XskWorld();
  const tx = world.makeTx();
  tx.transmit(world.burstOf(60), 0, 1);
  for (let i = 0; i < 1000; i++) world.answers.push({ errno: EAGAIN, sends: 0 });
  tx.kick();
  expect(world.calls.tx).toBe(32);
  world.answers.length = 0;
  tx.kick();
  expect(world.sent.length).toBe(1);
});

test('A kernel that sends nothing, and calls that no error, is asked once per kick', () => {
  const world = new XskWorld();
  const tx = world.makeTx();
  tx.transmit(world.burstOf(60), 0, 1);
  for (let i = 0; i < 2; i++) world.answers.push({ errno: 0, sends: 0 });
  tx.kick();
  expect(world.calls.tx).toBe(1);
  tx.kick();
  expect([world.calls.tx, tx.reclaim()]).toEqual([2, 1]);
});

test.each([
  ['EINVAL', EINVAL],
  ['EOPNOTSUPP', EOPNOTSUPP],
  ['ENXIO', ENXIO],
])(
  'With %s, which no other call mends, one call is made per kick, nothing is lost, and the control half is told',
  (_, errno) => {
    const world = new XskWorld();
    const tx = world.makeTx();
    tx.transmit(world.burstOf(60, 61), 0, 2);
    for (let i = 0; i < 3; i++) world.answers.push({ errno, sends: 0 });
    for (let i = 0; i < 3; i++) tx.kick();
    expect([world.calls.tx, world.refusal]).toEqual([3, errno]);
    expect([tx.reclaim(), inFlightOf(world.counters.tx)]).toEqual([2, 2]);
  },
);

test.each([
  ['EAGAIN', EAGAIN],
  ['EBUSY', EBUSY],
  ['ENETDOWN', ENETDOWN],
  ['ENOBUFS', ENOBUFS],
])('%s passes: the control half is not told', (_, errno) => {
  const world = new XskWorld();
  const tx = world.makeTx();
  tx.transmit(world.burstOf(60), 0, 1);
  world.answers.push({ errno, sends: 0 });
  tx.kick();
  expect(world.refusal).toBe(0);
});

test.each([
  ['ENETDOWN', ENETDOWN],
  ['ENXIO', ENXIO],
  ['ENOBUFS', ENOBUFS],
])('With %s the frames stay in the ring and are sent when it works again', (_, errno) => {
  const world = new XskWorld();
  const tx = world.makeTx();
  tx.transmit(world.burstOf(60, 61), 0, 2);
  world.answers.push({ errno, sends: 0 });
  tx.kick();
  expect(world.calls.tx).toBe(1);
  expect(tx.reclaim()).toBe(2);
  expect(inFlightOf(world.counters.tx)).toBe(2);
  tx.kick();
  expect(world.sent.length).toBe(2);
  expect(tx.reclaim()).toBe(0);
});

test('A full completion ring stops the kernel until it is emptied; nothing is lost', () => {
  const world = new XskWorld({ ring: 16, completionRing: 4 });
  const tx = world.makeTx();
  tx.transmit(world.burstOf(...Array(16).fill(60)), 0, 16);
  for (let i = 0; i < 8; i++) world.answers.push({ errno: EAGAIN, sends: 100 });
  tx.kick();
  expect(world.sent.length).toBe(16);
  expect(tx.reclaim()).toBe(0);
  expect(world.counters.tx.completed).toBe(16);
});

test.each([
  ['outside of the pool', BigInt(64 * 2048)],
  ['of more than 32 bits', 1n << 32n],
  ['of all ones', 0xffff_ffff_ffff_fffen],
  ['of a frame that was not sent', BigInt(40 * 2048)],
])('A completion %s frees nothing', (_, address) => {
  const world = new XskWorld();
  const tx = world.makeTx();
  tx.transmit(world.burstOf(60), 0, 1);
  const free = world.stack.free.size;
  world.completion.put(address);
  expect(tx.reclaim()).toBe(1);
  expect(world.stack.free.size).toBe(free);
  expect(world.counters.tx.completed).toBe(0);
});

test('A frame completed twice is free once', () => {
  const world = new XskWorld();
  const tx = world.makeTx();
  tx.transmit(world.burstOf(60), 0, 1);
  tx.kick();
  world.completion.put(world.completion.take()!.address);
  world.completion.consumer--;
  expect(tx.reclaim()).toBe(0);
  expect(world.counters.tx.completed).toBe(1);
  expect(world.stack.free.size).toBe(64);
});

test('A worker that takes over gets back what the one before had under way', () => {
  const world = new XskWorld();
  const before = world.makeTx();
  before.transmit(world.burstOf(60, 61, 62), 0, 3);
  world.send(1);
  const after = world.makeTx();
  expect(after.reclaim()).toBe(2);
  after.kick();
  expect(after.reclaim()).toBe(0);
  expect(world.counters.tx).toMatchObject({ packets: 3, completed: 3 });
  expect(world.stack.free.size).toBe(64);
});

const step = fc.oneof(
  fc.record({
    do: fc.constant('transmit' as const),
    lengths: fc.array(fc.integer({ min: -5, max: 1700 }), { minLength: 1, maxLength: 40 }),
  }),
  fc.record({
    do: fc.constant('kick' as const),
    errno: fc.constantFrom(0, EAGAIN, ENETDOWN, ENXIO, ENOBUFS),
    sends: fc.integer({ min: 0, max: 8 }),
  }),
  fc.record({ do: fc.constant('busy' as const) }),
  fc.record({ do: fc.constant('lie' as const), address: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }) }),
  fc.record({ do: fc.constant('reclaim' as const) }),
  fc.record({ do: fc.constant('restart' as const) }),
);

property.prop([
  fc.array(step, { maxLength: 200 }),
  fc.constantFrom(0, 0x7fff_ffc0, 0xffff_ffc0),
  fc.constantFrom({ ring: 16, budget: 32 }, { ring: 64, budget: 64 }),
])(
  'Packets = completed + failed + in flight, and every frame is in one place, whatever the kernel answers',
  (steps, start, kernel) => {
    const world = new XskWorld({ start, ...kernel });
    let tx = world.makeTx();
    for (const s of steps) {
      if (s.do === 'transmit') {
        const burst = world.burstOf(...s.lengths.slice(0, world.stack.free.size));
        const n = tx.transmit(burst, 0, burst.count);
        world.stack.give(burst.offsets, n, burst.count);
      } else if (s.do === 'kick') {
        world.answers.push({ errno: s.errno, sends: s.sends });
        tx.kick();
      } else if (s.do === 'busy') {
        if (world.tx.used > 0) world.answers.push({ errno: EBUSY, sends: 1 });
        tx.kick();
      } else if (s.do === 'lie') world.completion.put(s.address | (1n << 40n));
      else if (s.do === 'reclaim') tx.reclaim();
      else tx = world.makeTx();
      expect(inFlightOf(world.counters.tx)).toBe(world.mapped('tx'));
      expect(world.stack.free.size + world.mapped('tx')).toBe(world.frames);
    }
    world.answers.length = 0;
    for (let i = 0; i < 4; i++) {
      tx.reclaim();
      tx.kick();
    }
    expect(tx.reclaim()).toBe(0);
    expect(inFlightOf(world.counters.tx)).toBe(0);
  },
);
