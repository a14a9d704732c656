/**
 * The inflight area (QEMU, docs/interop/vhost-user.rst, "Inflight I/O tracking"): a back end that is killed at any of its
 * stores, and another one that goes on. Offsets here are the specification's, written down once more.
 */
import { describe, expect, it } from 'vitest';
import type { Burst } from '../../../lib/queue.ts';
import { type Area, BackEndProcess, setupOf } from '../../fakes/back-end-process.ts';
import { GuestMemory } from '../../fakes/guest-memory.ts';
import { killedAt } from '../../fakes/killed-at.ts';
import { packet } from '../../fakes/vhost-world.ts';
import {
  type Driver,
  PackedDriver,
  packetsOf,
  SplitDriver,
  scatterBytes,
  withHeader,
} from '../../fakes/virtio-driver.ts';

const SIZE = 8;
const KINDS = [
  ['split', false],
  ['packed', true],
] as const;

/** A guest with one ring, and an area that was never used. */
class Guest {
  readonly memory = new GuestMemory([{ gpa: 0x1_0010_0000, bytes: 1 << 20, window: 0, offset: 0x1_0000 }], 2 << 20);
  readonly driver: Driver;
  readonly area: Area;
  readonly packed: boolean;

  constructor(packed: boolean, size = SIZE, at = 0) {
    this.packed = packed;
    this.driver = packed ? new PackedDriver(this.memory, { size }) : new SplitDriver(this.memory, { size }, at);
    // It is no memory of the guest's: nobody finds it by a guest address.
    this.area = { window: 0, offset: 0x1000, size: 16 };
    new Uint8Array(this.memory.windows[0], 0x1000, 0x1000).fill(0);
  }

  get state(): DataView {
    return new DataView(this.memory.windows[0], this.area.offset, 0x1000);
  }

  /** A back end comes; what it is told of where the ring stands is of no use. */
  process(): BackEndProcess {
    const base = { avail: 0, availWrap: true, used: 0, usedWrap: true };
    return new BackEndProcess(
      this.memory,
      setupOf(this.memory, this.driver, this.packed, { inflight: this.area, base }),
    );
  }
}

const burstOf = (size: number): Burst => ({
  ...{ size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 },
});

/** Receives until there is nothing more; returns the packets. */
function receiveAll(process: BackEndProcess, rx = process.rx()): Uint8Array[] {
  const burst = burstOf(4);
  const packets: Uint8Array[] = [];
  while (rx.receive(burst) > 0) {
    for (let i = 0; i < burst.count; i++)
      packets.push(process.bytes.slice(burst.offsets[i], burst.offsets[i] + burst.lengths[i]));
    process.stack.give(burst.offsets, 0, burst.count);
  }
  return packets;
}

/** Sends what there is room for; returns how many. */
function sendAll(process: BackEndProcess, packets: readonly Uint8Array[], tx = process.tx()): number {
  const burst = burstOf(packets.length);
  process.stack.take(burst.offsets, 0, packets.length);
  packets.forEach((bytes, i) => {
    process.bytes.set(bytes, burst.offsets[i]);
    burst.lengths[i] = bytes.length;
  });
  return tx.transmit(burst, 0, packets.length);
}

/** Packet `n` in one, two or three descriptors, or in a table of two. */
function offerPacket({ driver, memory }: Guest, n: number): void {
  const cuts = [[], [12], [12, 20], [30]][n % 4];
  const pieces = scatterBytes(memory, withHeader(packet(60, n)), cuts);
  driver.add(pieces, { indirect: n % 4 === 3 ? -1 : 0 });
}

/** Kills a process at each of its stores, one after the other, until one comes to its end; `check` what is left. */
function kill(make: () => Guest, life: (guest: Guest) => void, check: (guest: Guest, at: number) => void): number {
  for (let at = 0; ; at++) {
    const guest = make();
    const survived = killedAt(guest.memory.windows, at, () => life(guest));
    check(guest, at);
    if (survived) return at;
  }
}

describe.each(KINDS)('What a guest transmits by a %s ring', (_kind, packed) => {
  it.each([0, 3, 6])('is taken exactly once when the back end is killed at any store (%i packets before)', (before) => {
    const make = () => {
      const guest = new Guest(packed);
      const first = guest.process();
      for (let n = 0; n < before; n++) {
        offerPacket(guest, n);
        receiveAll(first);
        guest.driver.reap();
      }
      for (let n = 0; n < 4; n++) offerPacket(guest, before + n);
      return guest;
    };
    const life = (guest: Guest) => void receiveAll(guest.process());
    const stores = kill(make, life, (guest) => {
      const seen = guest.driver.reap().length;
      // What the guest was told of has gone with the process; all else comes now, in order.
      const rest = Array.from({ length: 4 - seen }, (_, i) => packet(60, before + seen + i));
      const second = guest.process();
      expect(second.control.up).toBe(true);
      expect(receiveAll(second)).toEqual(rest);
      expect(guest.driver.reap().length).toBe(4 - seen);
      expect(guest.driver.outstanding).toBe(0);
      offerPacket(guest, 100);
      expect(receiveAll(second)).toEqual([packet(60, 100)]);
      guest.driver.reap();
    });
    expect(stores).toBeGreaterThan(20);
  });

  it('is taken exactly once when the second back end is killed while it looks at what the first one left', () => {
    // The first one is killed at a store in its middle; the second at any.
    for (const middle of [10, 20, 30, 40]) {
      const make = () => {
        const guest = new Guest(packed);
        for (let n = 0; n < 4; n++) offerPacket(guest, n);
        killedAt(guest.memory.windows, middle, () => void receiveAll(guest.process()));
        return guest;
      };
      const life = (guest: Guest) => void receiveAll(guest.process());
      kill(make, life, (guest) => {
        const seen = guest.driver.reap().length;
        const rest = Array.from({ length: 4 - seen }, (_, i) => packet(60, seen + i));
        expect(receiveAll(guest.process())).toEqual(rest);
        expect(guest.driver.reap().length).toBe(4 - seen);
      });
    }
  });

  it('goes on where the last burst ended when a worker is ended at any store, and the process lives', () => {
    const processes = new Map<Guest, BackEndProcess>();
    const make = () => {
      const guest = new Guest(packed);
      for (let n = 0; n < 4; n++) offerPacket(guest, n);
      processes.set(guest, guest.process());
      return guest;
    };
    const life = (guest: Guest) => void receiveAll(processes.get(guest)!);
    kill(make, life, (guest) => {
      const seen = guest.driver.reap().length;
      // A worker that was ended while it wrote: the next one finishes that first.
      const rest = receiveAll(processes.get(guest)!);
      expect(rest.length).toBeLessThanOrEqual(4 - seen);
      expect(rest).toEqual(Array.from({ length: rest.length }, (_, i) => packet(60, 4 - rest.length + i)));
      expect(guest.driver.reap().length).toBe(4 - seen);
      offerPacket(guest, 9);
      expect(receiveAll(guest.process())).toEqual([packet(60, 9)]);
    });
  });
});

describe.each(KINDS)('What a guest receives by a %s ring', (_kind, packed) => {
  it('comes at most once, and no buffer is lost, when the back end is killed at any store', () => {
    const make = () => {
      const guest = new Guest(packed);
      for (let n = 0; n < SIZE - 1; n++)
        guest.driver.add([{ gpa: guest.memory.allocate(100), length: 100, writable: true }]);
      return guest;
    };
    // The third one takes two buffers.
    const packets = [packet(60, 1), packet(60, 2), packet(150, 3), packet(60, 4)];
    const life = (guest: Guest) => {
      const process = guest.process();
      expect(sendAll(process, packets)).toBe(4);
    };
    kill(make, life, (guest) => {
      const used = guest.driver.reap();
      const got = packetsOf(guest.memory, used, true);
      expect(got).toEqual(packets.slice(0, got.length));
      const left = SIZE - 1 - used.length;
      const more = Array.from({ length: left }, (_, i) => packet(60, 20 + i));
      expect(sendAll(guest.process(), [...more, packet(60)])).toBe(left);
      expect(packetsOf(guest.memory, guest.driver.reap(), true)).toEqual(more);
      expect(guest.driver.outstanding).toBe(0);
    });
  });
});

/** DescStateSplit of head `i`: u8 inflight, u16 next at 6, u64 counter at 8; 16 bytes from byte 16 on. */
function splitState({ state }: Guest, i: number, counter: number, next = 0): void {
  state.setUint8(16 + 16 * i, 1);
  state.setUint16(16 + 16 * i + 6, next, true);
  state.setBigUint64(16 + 16 * i + 8, BigInt(counter), true);
}

describe('An area of another back end that uses buffers in any order', () => {
  it('split: what it had taken is taken again by its counters, then what is available', () => {
    const guest = new Guest(false, SIZE, 65_534);
    for (let n = 0; n < 6; n++) offerPacket(guest, 4 * n); // one descriptor each: heads 0 … 5
    // It took heads 0 … 3, in an order of its own, and used the one of head 1.
    guest.memory.put32(guest.driver.device + 4 + 8 * (65_534 % SIZE), 1);
    guest.memory.put16(guest.driver.device + 2, 65_535);
    guest.state.setUint16(8, 1, true);
    guest.state.setUint16(10, 16, true);
    guest.state.setUint16(14, 65_535, true);
    [0, 2, 3].forEach((head, i) => void splitState(guest, head, [9, 7, 8][i]));
    expect(guest.driver.reap().length).toBe(1);
    const process = guest.process();
    expect(receiveAll(process)).toEqual([2, 3, 0, 4, 5].map((n) => packet(60, 4 * n)));
    expect(guest.driver.reap().length).toBe(5);
    // Nothing is in flight any more.
    expect(Array.from({ length: SIZE }, (_, i) => guest.state.getUint8(16 + 16 * i))).toEqual(Array(SIZE).fill(0));
    expect(receiveAll(guest.process())).toEqual([]);
  });

  it('split: a last batch that was used and not crossed out is not taken again', () => {
    const guest = new Guest(false);
    for (let n = 0; n < 4; n++) offerPacket(guest, 4 * n);
    [2, 0].forEach((head, i) => {
      guest.memory.put32(guest.driver.device + 4 + 8 * i, head);
    });
    guest.memory.put16(guest.driver.device + 2, 2);
    guest.state.setUint16(8, 1, true);
    guest.state.setUint16(10, 16, true);
    guest.state.setUint16(12, 0, true); // last_batch_head; used_idx is still 0
    for (const [head, counter, next] of [
      [0, 1, 2],
      [1, 2, 0],
      [2, 3, 7],
    ])
      splitState(guest, head, counter, next);
    expect(guest.driver.reap().length).toBe(2);
    expect(receiveAll(guest.process())).toEqual([packet(60, 4), packet(60, 12)]);
    expect(guest.driver.reap().length).toBe(2);
  });

  it('packed: what it had taken is put back by its counters, before what is available', () => {
    const guest = new Guest(true);
    // Chains of 1, 2 and 3 descriptors, and one of 1: slots 0, 1 to 2, 3 to 5, 6. Ids go down from 7.
    for (const n of [0, 1, 2, 4]) offerPacket(guest, n);
    const { memory, driver, state } = guest;
    const desc = (slot: number, at: number) => memory.read(driver.desc + 16 * slot + at, 8);
    // It took the first three, in this order, and then used the second one: its used descriptor is in slot 0.
    state.setUint16(8, 1, true);
    state.setUint16(10, 16, true);
    const entries = [4, 9, 10, 1, 2, 3];
    entries.forEach((entry, slot) => {
      const at = 32 + 32 * entry;
      for (let i = 0; i < 8; i++) {
        state.setUint8(at + 24 + i, desc(slot, 0)[i]);
        state.setUint8(at + 20 + (i & 3), desc(slot, 8)[i & 3]);
        state.setUint8(at + 16 + (i & 3), desc(slot, 12)[i & 3]);
      }
      state.setUint16(at + 2, [0, 10, 5, 2, 3, 0][slot], true);
    });
    const head = (entry: number, num: number, counter: number, inflight: number) => {
      state.setUint8(32 + 32 * entry, inflight);
      state.setUint16(32 + 32 * entry + 6, num, true);
      state.setBigUint64(32 + 32 * entry + 8, BigInt(counter), true);
    };
    head(4, 1, 5, 1);
    head(9, 2, 6, 1); // used, not yet crossed out
    head(1, 3, 7, 1);
    memory.put16(driver.desc + 12, 6);
    memory.put16(driver.desc + 14, 0x8080);
    // free_head 9 (and 10 and 5 … behind it); old_free_head, before that, 5. used_idx 2, old_used_idx 0; both wraps 1.
    [9, 5, 2, 0].forEach((value, i) => {
      state.setUint16(12 + 2 * i, value, true);
    });
    state.setUint16(20, 0x0101, true);
    for (const [entry, next] of [
      [5, 6],
      [6, 7],
      [7, 16],
    ])
      state.setUint16(32 + 32 * entry + 2, next, true);
    expect(driver.reap().length).toBe(1);
    const process = guest.process();
    expect(receiveAll(process)).toEqual([packet(60, 0), packet(60, 2), packet(60, 4)]);
    expect(driver.reap().length).toBe(3);
    expect(driver.outstanding).toBe(0);
    expect(receiveAll(guest.process())).toEqual([]);
  });

  it.each([
    ['split: more buffers of a batch than the ring has', false, 14, 100],
    ['split: another version', false, 8, 2],
    ['split: another number of descriptors', false, 10, 15],
    ['packed: a used index beyond the ring', true, 16, SIZE],
    ['packed: an old used index beyond the ring', true, 18, 0xffff],
  ])('that makes no sense breaks the ring and nothing else: %s', (_what, packed, at, value) => {
    const guest = new Guest(packed);
    receiveAll(guest.process());
    offerPacket(guest, 0);
    guest.state.setUint16(at, value, true);
    const process = guest.process();
    expect(receiveAll(process)).toEqual([]);
    expect(process.control.failure()).toBe('its inflight area makes no sense');
    expect(process.control.failure()).toBeUndefined();
    expect(process.stack.free.size).toBe(256);
  });

  it('that is for smaller rings breaks the ring', () => {
    const guest = new Guest(false, 32);
    offerPacket(guest, 0);
    expect(guest.process().control.failure()).toBe('its inflight area makes no sense');
  });
});
