/**
 * The device's rules at ring level (virtio 1.2), each by its number in our list, against a guest's driver written from the
 * specification (test/fakes/virtio-driver.ts), which itself checks at each look: used ids, lengths, flags, what may not be written.
 */
import { describe, expect, it } from 'vitest';
import { BLOCK, RING_F } from '../../../lib/drivers/vhost/block.ts';
import { makeRxQueue } from '../../../lib/drivers/vhost/queue.ts';
import { MANY_REGIONS, packet, type VhostOptions, VhostWorld } from '../../fakes/vhost-world.ts';
import { packetsOf, scatterBytes, withHeader } from '../../fakes/virtio-driver.ts';

const kinds = describe.each([
  ['split', { packed: false }],
  ['packed', { packed: true }],
] as const);

const offer = (world: VhostWorld, bytes: Uint8Array, sizes: number[] = []) =>
  world.driver.add(scatterBytes(world.guest, bytes, sizes));
const room = (world: VhostWorld, length = 1600) =>
  world.driver.add([{ gpa: world.guest.allocate(length), length, writable: true }]);

kinds('%s ring', (_name, kind: VhostOptions) => {
  it('B1: MUST NOT consume or notify before the ring is started', () => {
    const world = new VhostWorld('rx', kind);
    world.gate.set(false);
    offer(world, withHeader(packet(60)));
    const rx = world.rx();
    expect(world.receiveAll(rx)).toEqual([]);
    expect(rx.arm()).toBe(false);
    expect([world.driver.reap().length, world.interrupts()]).toEqual([0, 0]);
    world.start();
    expect(world.receiveAll(rx)).toEqual([packet(60)]);
  });

  it('B1: a ring that is started but disabled sends nothing, and throws away what the guest transmits', () => {
    const rxWorld = new VhostWorld('rx', kind);
    rxWorld.start({ enabled: false });
    offer(rxWorld, withHeader(packet(60)));
    offer(rxWorld, withHeader(packet(60)), [12, 20]);
    expect(rxWorld.receiveAll(rxWorld.rx())).toEqual([]);
    expect(rxWorld.driver.reap().length).toBe(2);
    expect(rxWorld.counted).toEqual({ disabled: 2 });
    const txWorld = new VhostWorld('tx', kind);
    txWorld.start({ enabled: false });
    room(txWorld);
    expect(txWorld.send(txWorld.tx(), [packet(60)])).toBe(0);
    expect(txWorld.driver.reap()).toEqual([]);
  });

  it('B6, B8: after its gate has closed nothing is read, written or signalled, and the worker says that it has stepped back', () => {
    const world = new VhostWorld('rx', kind);
    const rx = world.rx();
    expect(world.gate.settled).toBe(true);
    world.gate.set(false);
    expect(world.gate.settled).toBe(false);
    offer(world, withHeader(packet(60)));
    expect(world.receiveAll(rx)).toEqual([]);
    expect(world.gate.settled).toBe(true);
    expect(world.driver.reap()).toEqual([]);
  });

  it('B9: on re-enable it honours what has changed: it goes on where it stood', () => {
    const world = new VhostWorld('rx', kind);
    const rx = world.rx();
    for (let i = 0; i < 40; i++) offer(world, withHeader(packet(60, i)));
    expect(world.receiveAll(rx).length).toBe(40);
    world.driver.reap();
    for (let i = 0; i < 40; i++) offer(world, withHeader(packet(61, i)));
    const { block } = world;
    const base = {
      avail: block[BLOCK.avail],
      availWrap: block[BLOCK.availWrap] === 1,
      used: block[BLOCK.used],
      usedWrap: block[BLOCK.usedWrap] === 1,
    };
    world.start({ base });
    expect(world.receiveAll(rx)).toEqual(Array.from({ length: 40 }, (_, i) => packet(61, i)));
    expect(world.driver.reap().length).toBe(40);
  });

  it.each([1, 2, 3, 5, 8, 11, 12])('B10: MUST NOT assume any layout: a header over %i descriptors', (parts) => {
    const world = new VhostWorld('rx', { ...kind, regions: MANY_REGIONS });
    const sizes = Array.from(
      { length: parts },
      (_, i) => Math.floor(((i + 1) * 12) / parts) - Math.floor((i * 12) / parts),
    );
    offer(world, withHeader(packet(100)), sizes);
    expect(world.receiveAll(world.rx())).toEqual([packet(100)]);
    const tx = new VhostWorld('tx', { ...kind, regions: MANY_REGIONS, mergeable: true });
    const pieces = [...sizes, 200].map((length) => ({ gpa: tx.guest.allocate(length), length, writable: true }));
    tx.driver.add(pieces);
    expect(tx.send(tx.tx(), [packet(100)])).toBe(1);
    expect(packetsOf(tx.guest, tx.driver.reap(), true)).toEqual([packet(100)]);
  });

  it('B11, B19: MUST NOT write to what it may only read, nor beyond a buffer', () => {
    const world = new VhostWorld('tx', kind);
    const tx = world.tx();
    for (const length of [14, 15, 60, 61, 62, 63, 64, 65, 1517, 1518]) {
      for (const skew of [0, 1, 2, 3, 4]) {
        world.driver.add([{ gpa: world.guest.allocate(length + 12, 16, skew), length: length + 12, writable: true }]);
        expect(world.send(tx, [packet(length)])).toBe(1);
        expect(packetsOf(world.guest, world.driver.reap(), false)).toEqual([packet(length)]);
      }
    }
    expect(world.guest.damage()).toEqual([]);
  });

  it('B12: MUST ignore WRITE on the descriptor of an indirect table', () => {
    const world = new VhostWorld('rx', kind);
    world.driver.add(scatterBytes(world.guest, withHeader(packet(80)), [12]), { indirect: -1, write: true });
    expect(world.receiveAll(world.rx())).toEqual([packet(80)]);
  });

  it.each([8, 16, 64])('IN_ORDER: what a burst of a ring of %i takes is told of by its last buffer alone', (size) => {
    const world = new VhostWorld('rx', { ...kind, size, inOrder: true });
    const rx = world.rx();
    const expected: Uint8Array[] = [];
    for (let round = 0; round < 40; round++) {
      const before = world.driver.batches;
      // Plain buffers, chains, tables and runts, one to five in a burst.
      const some = Array.from({ length: 1 + (round % 5) }, (_, i) => packet(round % 7 === i ? 10 : 60 + i, round));
      some.forEach((bytes, i) => {
        const pieces = scatterBytes(world.guest, withHeader(bytes), (round + i) % 3 === 0 ? [12] : []);
        world.driver.add(pieces, (round + i) % 4 === 1 ? { indirect: -1 } : {});
      });
      expected.push(...some.filter(({ length }) => length > 10));
      expect(world.receiveAll(rx)).toEqual(expected.splice(0));
      expect(world.driver.reap().map(({ length }) => length)).toEqual(some.map(() => 0));
      expect(world.driver.batches - before).toBe(1);
    }
    expect(world.framesFree).toBe(true);
  });

  it('IN_ORDER: buffers that were written to, thrown away or noted in an inflight area are told of too', () => {
    const tx = new VhostWorld('tx', { ...kind, inOrder: true });
    for (let i = 0; i < 3; i++) room(tx);
    expect(tx.send(tx.tx(), [packet(60), packet(61), packet(62)])).toBe(3);
    expect(packetsOf(tx.guest, tx.driver.reap(), false)).toEqual([packet(60), packet(61), packet(62)]);
    expect(tx.driver.batches).toBe(3);
    const disabled = new VhostWorld('rx', { ...kind, inOrder: true });
    disabled.start({ enabled: false });
    for (let i = 0; i < 3; i++) offer(disabled, withHeader(packet(60)));
    expect(disabled.receiveAll(disabled.rx())).toEqual([]);
    expect(disabled.driver.reap().length).toBe(3);
    expect(disabled.counted).toEqual({ disabled: 3 });
  });

  it('B14, B15: MUST interrupt when the driver asks, and not when it does not', () => {
    for (const direction of ['rx', 'tx'] as const) {
      const world = new VhostWorld(direction, kind);
      const queue = direction === 'rx' ? world.rx() : undefined;
      const tx = direction === 'tx' ? world.tx() : undefined;
      const once = () => {
        if (queue !== undefined) {
          offer(world, withHeader(packet(60)));
          expect(world.receiveAll(queue).length).toBe(1);
        } else if (tx !== undefined) {
          room(world);
          expect(world.send(tx, [packet(60)])).toBe(1);
        }
        world.driver.reap();
        return world.interrupts();
      };
      tx?.kick();
      world.interrupts();
      world.driver.wantInterrupt(true);
      expect(once()).toBe(1);
      world.driver.wantInterrupt(false);
      expect([once(), once()]).toEqual([0, 0]);
      world.driver.wantInterrupt(true);
      expect(once()).toBe(1);
    }
  });

  it('B15: with EVENT_IDX MUST interrupt when the index passes the event, and SHOULD NOT otherwise', () => {
    const world = new VhostWorld('rx', { ...kind, eventIdx: true });
    const rx = world.rx();
    world.interrupts();
    for (let round = 0; round < 300; round++) {
      const after = 1 + (round % 5);
      world.driver.wantInterrupt(true, after);
      for (let i = 1; i <= 6; i++) {
        offer(world, withHeader(packet(60)));
        world.receiveAll(rx);
        expect(world.interrupts()).toBe(i === after ? 1 : 0);
      }
      world.driver.reap();
    }
  });

  it('B15: one interrupt per burst, when the event is anywhere in it', () => {
    const world = new VhostWorld('tx', { ...kind, eventIdx: true });
    const tx = world.tx();
    tx.kick();
    world.interrupts();
    for (let i = 0; i < 30; i++) room(world);
    world.driver.wantInterrupt(true, 7);
    expect(
      world.send(
        tx,
        Array.from({ length: 20 }, () => packet(60)),
      ),
    ).toBe(20);
    expect(world.interrupts()).toBe(1);
  });

  it('B16: the length of a used buffer is what was written, the header with it', () => {
    const world = new VhostWorld('tx', kind);
    room(world);
    world.send(world.tx(), [packet(77)]);
    expect(world.driver.reap().map(({ length }) => length)).toEqual([89]);
  });

  it('B17: asks for kicks only while it sleeps, and MUST handle one too many', () => {
    for (const eventIdx of [false, true]) {
      const world = new VhostWorld('rx', { ...kind, eventIdx });
      const rx = world.rx();
      offer(world, withHeader(packet(60)));
      expect(world.driver.mustNotify()).toBe(false);
      expect(rx.arm()).toBe(true);
      rx.disarm();
      world.receiveAll(rx);
      world.driver.reap();
      expect(rx.arm()).toBe(false);
      offer(world, withHeader(packet(60)));
      expect(world.driver.mustNotify()).toBe(true);
      rx.disarm();
      // A kick for nothing: it looks, and finds nothing.
      expect([world.receiveAll(rx).length, world.receiveAll(rx).length]).toEqual([1, 0]);
      offer(world, withHeader(packet(60)));
      expect(world.driver.mustNotify()).toBe(false);
    }
  });

  it('B18, B30: buffers are used in the order in which they were made available', () => {
    const world = new VhostWorld('rx', kind);
    const rx = world.rx();
    const order: number[] = [];
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 9; i++) offer(world, withHeader(packet(60, round * 9 + i)), i % 3 === 0 ? [12] : []);
      expect(world.receiveAll(rx)).toEqual(Array.from({ length: 9 }, (_, i) => packet(60, round * 9 + i)));
      order.push(...world.driver.reap().map(({ chain }) => chain.pieces.length));
    }
    expect(order).toEqual(Array.from({ length: 180 }, (_, i) => (i % 3 === 0 ? 2 : 1)));
  });

  it('B20: chained descriptors are taken in their order', () => {
    const world = new VhostWorld('rx', kind);
    offer(world, withHeader(packet(300)), [40, 1, 7, 100, 3, 60]);
    expect(world.receiveAll(world.rx())).toEqual([packet(300)]);
  });

  it('B21: no packet beyond MTU and header is sent or taken', () => {
    const world = new VhostWorld('tx', kind);
    room(world, 4000);
    expect(world.send(world.tx(), [packet(1519)])).toBe(1);
    expect(world.driver.reap()).toEqual([]);
    expect(world.counted).toEqual({ packets: 1, oversize: 1 });
    const rx = new VhostWorld('rx', kind);
    offer(rx, withHeader(packet(1519)));
    offer(rx, withHeader(packet(1518)));
    expect(rx.receiveAll(rx.rx())).toEqual([packet(1518)]);
    expect(rx.counted).toEqual({ packets: 1, bytes: 1518, oversize: 1 });
  });

  it('B22: unknown flags are ignored, and checksum fields and hdr_len without NEEDS_CSUM', () => {
    const world = new VhostWorld('rx', { ...kind, csum: true });
    const header = Uint8Array.of(0xfe, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0);
    offer(world, withHeader(packet(60), header));
    expect(world.receiveAll(world.rx())).toEqual([packet(60)]);
  });

  it('B22: a checksum that is left to us is completed: its field holds the sum of the pseudo-header', () => {
    const world = new VhostWorld('rx', { ...kind, csum: true });
    const p = packet(75, 3);
    p[40] = 0x12;
    p[41] = 0x34;
    offer(world, withHeader(p, Uint8Array.of(1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0)));
    // RFC 1071: the ones' complement sum of the 16-bit words from csum_start on, an odd last byte with a zero.
    let sum = 0;
    for (let i = 34; i < p.length; i += 2) sum += (p[i] << 8) | (p[i + 1] ?? 0);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    const expected = Uint8Array.from(p);
    expected[40] = (~sum & 0xffff) >>> 8;
    expected[41] = ~sum & 0xff;
    expect(world.receiveAll(world.rx())).toEqual([expected]);
  });

  it('B23: num_buffers is the number of buffers, all but the last full, all published together', () => {
    const world = new VhostWorld('tx', { ...kind, mergeable: true });
    const tx = world.tx();
    for (let i = 0; i < 20; i++) room(world, 50 + i);
    const packets = [packet(200, 1), packet(30, 2), packet(260, 3)];
    expect(world.send(tx, packets)).toBe(3);
    expect(packetsOf(world.guest, world.driver.reap(), true)).toEqual(packets);
    // Buffers that are not enough for a packet are not touched.
    expect(world.send(tx, [packet(1500)])).toBe(0);
    expect(world.driver.reap()).toEqual([]);
  });

  it('B24: headers of ours are zero but for num_buffers', () => {
    const world = new VhostWorld('tx', kind);
    const gpa = world.guest.allocate(200);
    world.guest.write(gpa, new Uint8Array(200).fill(0xff));
    world.driver.add([{ gpa, length: 200, writable: true }]);
    world.send(world.tx(), [packet(60)]);
    expect([...world.guest.read(gpa, 12)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
  });

  it('a worker that takes over goes on where the one before stood', () => {
    const world = new VhostWorld('rx', kind);
    for (let i = 0; i < 10; i++) offer(world, withHeader(packet(60, i)));
    const first = world.rx();
    const burst = world.burst(4);
    expect(first.receive(burst)).toBe(4);
    world.stack.give(burst.offsets, 0, 4);
    expect(world.receiveAll(world.rx())).toEqual([4, 5, 6, 7, 8, 9].map((i) => packet(60, i)));
    expect(world.driver.reap().length).toBe(10);
  });

  it('dirty log: the pages of buffers and of the used ring that were written are marked, no others', () => {
    const log = { window: 0, offset: 0x100, bytes: 64 };
    const regions = [{ gpa: 0, bytes: 1 << 20, window: 0, offset: 0x1_0000 }];
    const world = new VhostWorld('tx', { ...kind, regions, log, logAddress: 0x8000 });
    expect((world.block[BLOCK.flags] & RING_F.log) !== 0).toBe(true);
    const bits = new Uint8Array(world.guest.windows[0], 0x100, 64).fill(0);
    const gpa = 0x5_0ff0;
    world.guest.give(gpa, 200);
    world.driver.add([{ gpa, length: 200, writable: true }]);
    expect(world.send(world.tx(), [packet(60)])).toBe(1);
    const pages = [...bits].flatMap((byte, i) =>
      [0, 1, 2, 3, 4, 5, 6, 7].filter((b) => byte & (1 << b)).map((b) => i * 8 + b),
    );
    expect(pages).toEqual([8, 0x50, 0x51]);
    expect(packetsOf(world.guest, world.driver.reap(), false)).toEqual([packet(60)]);
  });

  it('dirty log: pages beyond it are not marked', () => {
    const log = { window: 0, offset: 0x100, bytes: 1 };
    const regions = [{ gpa: 0, bytes: 1 << 20, window: 0, offset: 0x1_0000 }];
    const world = new VhostWorld('tx', { ...kind, regions, log, logAddress: -1 });
    const around = new Uint8Array(world.guest.windows[0], 0xf0, 64).fill(0);
    room(world);
    world.guest.give(0x5_0000, 200);
    world.driver.add([{ gpa: 0x5_0000, length: 200, writable: true }]);
    expect(world.send(world.tx(), [packet(60), packet(60)])).toBe(2);
    expect([...around].filter((_, i) => i !== 16).every((byte) => byte === 0)).toBe(true);
  });
});

describe('split ring', () => {
  it('B13: MUST handle direct descriptors followed by one indirect table', () => {
    const world = new VhostWorld('rx');
    for (const indirect of [1, 2, 3]) {
      world.driver.add(scatterBytes(world.guest, withHeader(packet(120, indirect)), [12, 30, 40]), { indirect });
    }
    expect(world.receiveAll(world.rx())).toEqual([1, 2, 3].map((n) => packet(120, n)));
  });
});

describe('packed ring', () => {
  it('chains go across the end of the ring', () => {
    const world = new VhostWorld('rx', { packed: true, size: 7 });
    const rx = world.rx();
    for (let n = 0; n < 50; n++) {
      offer(world, withHeader(packet(60, n)), n % 2 === 0 ? [5, 12] : [30]);
      expect(world.receiveAll(rx)).toEqual([packet(60, n)]);
      expect(world.driver.reap().length).toBe(1);
    }
  });

  it('a worker that ended while it wrote what it had used leaves it to the next', () => {
    const world = new VhostWorld('rx', { packed: true });
    for (let i = 0; i < 5; i++) offer(world, withHeader(packet(60, i)));
    const rx = world.rx();
    // As after the first of the stores: nothing in the ring yet, all of it in the block.
    const before = world.guest.read(world.driver.desc, 16 * 64);
    world.receiveAll(rx);
    world.guest.write(world.driver.desc, before);
    world.block[BLOCK.commit] = 5;
    expect(world.driver.reap()).toEqual([]);
    expect(world.receiveAll(world.rx())).toEqual([]);
    expect(world.driver.reap().length).toBe(5);
    expect(world.block[BLOCK.commit]).toBe(0);
  });
});

describe('a ring without a kick eventfd', () => {
  it('has nothing to wait for: it is polled', () => {
    const world = new VhostWorld('rx');
    const rx = makeRxQueue({ ...world.plan, fd: 50 }, world.context);
    expect(rx.fd).toBe(-1); // the world's rings have none
    world.start({ kick: 60 });
    rx.receive(world.burst());
    expect(rx.fd).toBe(50);
  });
});
