/** Rules of virtio 1.2 §5.1.6 for the header of packets, V83 to V98, on both kinds of ring. */
import { describe, expect, test } from 'vitest';
import { BLOCK, TROUBLE } from '../../../lib/drivers/virtio-net/block.ts';
import {
  HDR,
  KINDS,
  packetOf,
  ROOM,
  type RxHeader,
  type VirtioWorld,
  VirtioWorld as World,
} from '../../fakes/virtio-queues.ts';

const UDP = (() => {
  // Ethernet, IPv4 10.0.0.1 → 10.0.0.2, UDP with the sum of its pseudo-header where the checksum goes (RFC 768).
  const packet = packetOf(3, 60);
  const put = (at: number, ...bytes: number[]) => packet.splice(at, bytes.length, ...bytes);
  put(12, 8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2);
  put(34, 0, 53, 0, 53, 0, 26);
  const pseudo = 0x0a00 + 1 + 0x0a00 + 2 + 17 + 26;
  put(40, pseudo >> 8, pseudo & 0xff);
  return packet;
})();

/** Sum of the pseudo-header and the UDP datagram, folded: all ones when the checksum is right. */
function udpSum(packet: readonly number[]): number {
  let sum = 0x0a00 + 1 + 0x0a00 + 2 + 17 + 26;
  for (let i = 34; i < 60; i += 2) sum += (packet[i] << 8) | packet[i + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

function receiveOne(world: VirtioWorld, packet: number[], header: Partial<RxHeader>): number[] | undefined {
  const rx = world.makeRx();
  world.deliver(packet, header);
  const burst = world.burst();
  const n = rx.receive(burst);
  return n === 0 ? undefined : [...world.bytes.slice(burst.offsets[0], burst.offsets[0] + burst.lengths[0])];
}

const NEEDS_CSUM = { flags: 1, csumStart: 34, csumOffset: 6 };

describe.each(KINDS)('Headers over a %s ring', (kind) => {
  const makeWorld = (options = {}) => new World({ kind, ...options });
  const sentHeader = () => {
    const world = makeWorld();
    const burst = world.burstOf(60, 1000);
    // What a received packet left there.
    for (let i = 0; i < 2; i++) world.bytes.fill(0xff, burst.offsets[i] - HDR, burst.offsets[i]);
    world.makeTx().transmit(burst, 0, 2);
    return world.collect().map(({ header }) => header);
  };
  const zeros = [Array(12).fill(0), Array(12).fill(0)];

  test.each([
    ['V83', 'num_buffers MUST be 0'],
    ['V84', 'flags MUST be 0 without CSUM, and packets are fully checksummed'],
    ['V85', 'gso_type MUST NOT name an offload that was not negotiated'],
    ['V86', 'GSO_ECN MUST NOT be set without HOST_ECN'],
    ['V87', 'NEEDS_CSUM is not set, so that csum_start and csum_offset name nothing'],
    ['V88', 'gso_type MUST be NONE without HOST offloads'],
    ['V89', 'gso_size is 0 with gso_type NONE'],
    ['V90', 'hdr_len is 0 with gso_type NONE'],
    ['V91', 'DATA_VALID and RSC_INFO MUST NOT be set'],
  ])('%s: in what is sent %s', () => {
    expect(sentHeader()).toEqual(zeros);
  });

  test('V92: without MRG_RXBUF rx buffers have 1526 bytes at least', () => {
    const world = makeWorld();
    world.makeRx();
    expect(world.device.take()!.parts[0].len).toBeGreaterThanOrEqual(1526);
  });

  test('V93: with MRG_RXBUF each buffer has room for the header', () => {
    const world = makeWorld({ mergeable: true });
    world.makeRx();
    for (let taken = world.device.take(); taken !== undefined; taken = world.device.take())
      expect(taken.parts[0].len).toBeGreaterThanOrEqual(HDR);
  });

  test('V94: a receive queue is filled, and filled again', () => {
    const world = makeWorld();
    const rx = world.makeRx();
    expect(world.device.waiting).toBe(16);
    for (let i = 0; i < 16; i++) world.deliver(packetOf(i));
    expect(rx.receive(world.burst())).toBe(16);
    expect(world.device.waiting).toBe(16);
  });

  test.each([0x04, 0x08, 0xf8])('V95: MUST ignore unknown header flags: %d', (flags) => {
    for (const checksum of [false, true]) {
      expect(receiveOne(makeWorld({ checksum, mergeable: true }), packetOf(1), { flags })).toEqual(packetOf(1));
    }
  });

  test('V96: MUST NOT use csum_start and csum_offset unless NEEDS_CSUM is set and RSC_INFO is not', () => {
    for (const flags of [0, 2, 4, 4 | 1]) {
      const header = { ...NEEDS_CSUM, flags };
      expect(receiveOne(makeWorld({ checksum: true }), [...UDP], header)).toEqual(UDP);
    }
  });

  test('V96: what needs a checksum gets one, right after it was received', () => {
    const got = receiveOne(makeWorld({ checksum: true }), [...UDP], NEEDS_CSUM)!;
    expect(udpSum(UDP)).not.toBe(0xffff);
    expect(udpSum(got)).toBe(0xffff);
    expect([...got.slice(0, 40), ...got.slice(42)]).toEqual([...UDP.slice(0, 40), ...UDP.slice(42)]);
  });

  test('V97: MUST NOT rely on hdr_len', () => {
    for (const hdrLen of [0, 1, 65_535])
      expect(receiveOne(makeWorld({ checksum: true, mergeable: true }), packetOf(1), { hdrLen })).toEqual(packetOf(1));
  });

  test('V98: with neither NEEDS_CSUM nor DATA_VALID the packet is as it came, its checksum nobody’s claim', () => {
    expect(receiveOne(makeWorld({ checksum: true }), [...UDP], { flags: 0 })).toEqual(UDP);
  });

  test('H3: a used length beyond what was posted, or shorter than a header, is counted, and the buffer ours again', () => {
    for (const mergeable of [false, true]) {
      const world = makeWorld({ mergeable });
      const rx = world.makeRx();
      for (const length of [0, 1, HDR - 1, ROOM + 1, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
        const taken = world.device.take()!;
        world.fill(taken, packetOf(0));
        world.device.use(taken.id, length);
      }
      world.deliver(packetOf(9));
      const burst = world.burst();
      expect(rx.receive(burst)).toBe(1);
      expect(world.bytes[burst.offsets[0]]).toBe(63);
      expect(world.counters('rx')).toMatchObject({ packets: 1, invalid: 8, runt: 0, oversize: 0 });
      expect(world.free.free.size + world.held.length + 1).toBe(world.frames);
    }
  });

  test('H3: packets that are too short or too long for the port are counted apart', () => {
    const world = makeWorld({ maxLength: 1000 });
    const rx = world.makeRx();
    for (const length of [0, 1, 13, 14, 1000, 1001, ROOM - HDR]) world.deliver(packetOf(1, length));
    const burst = world.burst();
    expect([rx.receive(burst), [...burst.lengths.slice(0, 2)]]).toEqual([2, [14, 1000]]);
    expect(world.counters('rx')).toMatchObject({ packets: 2, runt: 3, oversize: 2, invalid: 0 });
    expect(world.free.free.size + world.held.length + 2).toBe(world.frames);
  });

  test('H6: num_buffers of 0 is counted; a packet over several buffers costs all of them and nothing else', () => {
    const world = makeWorld({ mergeable: true });
    const rx = world.makeRx();
    world.deliver(packetOf(1), { numBuffers: 0 });
    world.deliverOver(packetOf(2, 2 * ROOM + 5));
    world.deliver(packetOf(5));
    const burst = world.burst();
    expect(rx.receive(burst)).toBe(1);
    expect(world.bytes[burst.offsets[0]]).toBe(35);
    expect(world.counters('rx')).toMatchObject({ packets: 1, invalid: 1, oversize: 3 });
    expect(world.free.free.size + world.held.length + 1).toBe(world.frames);
  });

  test('H6: without MRG_RXBUF num_buffers means nothing', () => {
    for (const numBuffers of [0, 2, 65_535])
      expect(receiveOne(makeWorld(), packetOf(1), { numBuffers })).toEqual(packetOf(1));
  });

  test.each([2, 3, 17, 65_535])(
    'H6: a packet over %i buffers that were not used together stops the queue',
    (numBuffers) => {
      const world = makeWorld({ mergeable: true });
      const rx = world.makeRx();
      const burst = world.burst();
      world.deliver(packetOf(1));
      world.deliver(packetOf(2), { numBuffers });
      expect(rx.receive(burst)).toBe(1);
      world.stack.give(burst.offsets, 0, 1);
      expect(world.words[BLOCK.trouble]).toBe(TROUBLE.buffers);
      for (let i = 0; i < 3; i++) expect(rx.receive(burst)).toBe(0);
      expect(world.free.free.size + world.held.length).toBe(world.frames);
    },
  );

  test('H14: gso_size 0 with a gso_type, csum_start 65535, and sums that go beyond the packet', () => {
    const bad = [
      { ...NEEDS_CSUM, csumStart: 65_535 },
      { ...NEEDS_CSUM, csumOffset: 65_535 },
      { ...NEEDS_CSUM, csumStart: 65_535, csumOffset: 65_535 },
      { ...NEEDS_CSUM, csumStart: 59, csumOffset: 0 },
      { ...NEEDS_CSUM, csumStart: 34, csumOffset: 25 },
    ];
    for (const header of bad) {
      const world = makeWorld({ checksum: true });
      expect(receiveOne(world, [...UDP], header)).toBeUndefined();
      expect(world.counters('rx')).toMatchObject({ packets: 0, invalid: 1 });
      expect(world.free.free.size + world.held.length).toBe(world.frames);
    }
    const harmless = { gsoType: 1, gsoSize: 0, csumStart: 65_535, csumOffset: 65_535 };
    for (const checksum of [false, true])
      expect(receiveOne(makeWorld({ checksum }), packetOf(1), harmless)).toEqual(packetOf(1));
    // The last place where a checksum fits.
    expect(
      receiveOne(makeWorld({ checksum: true }), [...UDP], { ...NEEDS_CSUM, csumStart: 34, csumOffset: 24 }),
    ).toBeDefined();
  });
});
