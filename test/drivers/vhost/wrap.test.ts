/** Sequences through every size of ring, beyond 65,536 buffers, at the device's end: nothing lost, doubled, or out of order. */
import { describe, expect, test } from 'vitest';
import { VhostWorld } from '../../fakes/vhost-world.ts';

const POWERS = Array.from({ length: 15 }, (_, i) => 2 ** (i + 1));
const ODD = [1, 3, 5, 7, 31, 100, 255, 257, 1000, 4095, 32_767];
const cases = [
  ...[1, ...POWERS].map((size) => ['split', size] as const),
  ...[...POWERS, ...ODD].map((size) => ['packed', size] as const),
];
const COUNT = 65_536 + 2500;
const HEADER = 12;
/** Two buffers' worth: as many bytes as a slot of the ring has in the guest's memory. */
const BUFFER = 48;
const LENGTH = 20;

/** A ring whose guest has a buffer per descriptor, in one piece and in two by turns; `from` is where indices start. */
function makeWorld(direction: 'rx' | 'tx', kind: 'split' | 'packed', size: number) {
  const regions = [{ gpa: 0x1_0010_0000, bytes: 3 << 20, window: 0, offset: 0x1_0000 }];
  const packed = kind === 'packed';
  const world = new VhostWorld(direction, { size, packed, regions, eventIdx: true, watchful: size < 8 });
  const first = world.guest.allocate(BUFFER * size, 16);
  const writable = direction === 'tx';
  let turn = 0;
  /** The next buffer, `length` bytes long, and its address. */
  const next = (length: number) => {
    const gpa = first + BUFFER * (turn % size);
    const whole = turn++ % 3 !== 0 || world.driver.free < 2;
    const pieces = whole
      ? [{ gpa, length, writable }]
      : [
          { gpa, length: HEADER, writable },
          { gpa: gpa + HEADER, length: length - HEADER, writable },
        ];
    return { gpa, pieces };
  };
  return { world, next };
}

describe.each(cases)('A %s ring of %i', (kind, size) => {
  test('brings what the guest transmits in its exact sequence through the wrap of its indices', () => {
    const { world, next } = makeWorld('rx', kind, size);
    const { driver, guest, stack, arena } = world;
    const rx = world.rx();
    const burst = world.burst(32);
    const view = new DataView(arena);
    let got = 0;
    for (let sent = 0; got < COUNT; ) {
      for (; driver.free > 0 && sent < COUNT; sent++) {
        const { gpa, pieces } = next(HEADER + LENGTH);
        guest.put32(gpa + HEADER, sent);
        driver.add(pieces);
      }
      const n = rx.receive(burst);
      if (n === 0) throw new Error(`nothing comes after packet ${got}, and ${driver.outstanding} are under way`);
      for (let i = 0; i < n; i++, got++) {
        const number = view.getUint32(burst.offsets[i], true);
        if (number !== got) throw new Error(`packet ${number} comes instead of ${got}`);
      }
      stack.give(burst.offsets, 0, n);
      expect(driver.reap().length).toBe(n);
    }
    expect(driver.outstanding).toBe(0);
    expect(world.counted).toEqual({ packets: COUNT, bytes: COUNT * LENGTH });
    expect(world.framesFree).toBe(true);
  });

  test('sends to the guest the exact sequence through the wrap of its indices', () => {
    const { world, next } = makeWorld('tx', kind, size);
    const { driver, guest, stack, arena } = world;
    const tx = world.tx();
    const burst = world.burst(32);
    const view = new DataView(arena);
    let got = 0;
    for (let sent = 0; got < COUNT; ) {
      while (driver.free > 0) driver.add(next(HEADER + LENGTH).pieces);
      const n = stack.take(burst.offsets, 0, Math.min(32, COUNT - sent));
      for (let i = 0; i < n; i++) {
        burst.lengths[i] = LENGTH;
        view.setUint32(burst.offsets[i], sent + i, true);
      }
      const accepted = tx.transmit(burst, 0, n);
      if (n > 0 && accepted === 0) throw new Error(`packet ${sent} does not go, and there are buffers`);
      sent += accepted;
      stack.give(burst.offsets, accepted, n);
      tx.kick();
      for (const { chain, length } of driver.reap()) {
        const number = guest.get32(Number(chain.pieces[0].gpa) + HEADER);
        if (number !== got++ || length !== HEADER + LENGTH) throw new Error(`packet ${number} is not ${got - 1}`);
      }
    }
    expect(world.counted).toEqual({ packets: COUNT, bytes: COUNT * LENGTH, completed: COUNT });
    expect(world.framesFree).toBe(true);
  });
});
