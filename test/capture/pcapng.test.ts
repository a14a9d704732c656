import { describe, expect, test } from 'vitest';
import { Blocks, file, frame } from '../fakes/capture-files.ts';
import { read } from '../fakes/read-capture.ts';

const text = (value: string) => new TextEncoder().encode(value);
const SECOND = 1_000_000_000n;

describe.each([true, false])('a pcapng file, little-endian: %s', (little) => {
  const b = new Blocks(little);
  const start = file(b.section(), b.interface());

  test('gives enhanced, simple and obsolete packet blocks in their order', async () => {
    const bytes = file(
      start,
      b.packet(0, 1_000_001n, frame(60, 1), { original: 1514 }),
      b.simplePacket(frame(61, 2)),
      b.oldPacket(0, 2_000_000n, frame(62, 3)),
    );
    const { packets, error } = await read(bytes);
    expect(error).toBeUndefined();
    expect(packets).toEqual([
      { interface: 0, timestamp: 1_000_001_000n, originalLength: 1514, direction: 0, data: frame(60, 1) },
      { interface: 0, timestamp: 0n, originalLength: 61, direction: 0, data: frame(61, 2) },
      { interface: 0, timestamp: 2n * SECOND, originalLength: 62, direction: 0, data: frame(62, 3) },
    ]);
  });

  test('is read alike whatever the pieces in which it arrives', async () => {
    const bytes = file(start, ...[60, 61, 62, 63].map((n) => b.packet(0, BigInt(n), frame(n))));
    const whole = await read(bytes);
    expect(whole.packets).toHaveLength(4);
    for (const chunk of [1, 2, 3, 5, 7, 64, 100]) expect(await read(bytes, chunk)).toEqual(whole);
  });

  test('skips blocks without packets: statistics, names, custom and unknown ones', async () => {
    const others = [4, 5, 10, 0xbad, 0x8000_0001].map((type) => b.block(type, [new Uint8Array(20)]));
    const { packets, error } = await read(file(start, ...others, b.packet(0, 0n, frame(60)), ...others));
    expect(error).toBeUndefined();
    expect(packets).toHaveLength(1);
  });

  test('tells the interfaces and their names, snap lengths and resolutions apart', async () => {
    const named = b.interface(
      [
        { code: 2, value: text('eth0') },
        { code: 9, value: b.u8(9) },
      ],
      96,
    );
    const zeroEnded = b.interface([{ code: 2, value: text('lo\0garbage') }]);
    const bytes = file(b.section(), named, zeroEnded, b.packet(1, 5n, frame(60)), b.packet(0, 5n, frame(60)));
    const { packets, interfaces } = await read(bytes);
    expect(interfaces).toEqual([
      { name: 'eth0', snapLength: 96, resolution: 9, offset: 0n, fcs: 0 },
      { name: 'lo', snapLength: 0, resolution: 6, offset: 0n, fcs: 0 },
    ]);
    expect(packets.map((p) => [p.interface, p.timestamp])).toEqual([
      [1, 5000n],
      [0, 5n],
    ]);
  });

  test.each([
    ['10^-0', 0, 0n, 7n, 7n * SECOND],
    ['10^-3', 3, 0n, 1_500n, 1_500_000_000n],
    ['10^-6, past 2^32', 6, 0n, 0x1_0000_0001n, 0x1_0000_0001n * 1000n],
    ['10^-9, past 2^63', 9, 0n, 0xffff_ffff_ffff_ffffn, 0xffff_ffff_ffff_ffffn],
    ['10^-12', 12, 0n, 1_234_567n, 1234n],
    ['10^-127', 127, 0n, 0xffff_ffff_ffff_ffffn, 0n],
    ['2^-10', 0x8a, 0n, 1536n, 1_500_000_000n],
    ['2^-32', 0xa0, 0n, 0x1_8000_0000n, 1_500_000_000n],
    ['2^-127', 0xff, 0n, 0xffff_ffff_ffff_ffffn, 0n],
    ['10^-9 with an offset', 9, 1000n, 5n, 1000n * SECOND + 5n],
    ['10^-6 with a negative offset', 6, -1n, 1_000_001n, 1000n],
  ])('converts time stamps of resolution %s', async (_name, resolution, offset, ticks, ns) => {
    const options = [
      { code: 9, value: b.u8(resolution) },
      { code: 14, value: b.i64(offset) },
    ];
    const { packets, error } = await read(file(b.section(), b.interface(options), b.packet(0, ticks, frame(60))));
    expect(error).toBeUndefined();
    expect(packets[0].timestamp).toBe(ns);
  });

  test.each([
    ['microseconds past 2^64 ns', 6, 0n, 0xffff_ffff_ffff_ffffn],
    ['seconds past 2^64 ns', 0, 0n, 0x8000_0000_0000_0000n],
    ['a time before 1970', 6, -2n, 1_000_000n],
  ])('refuses %s, with the offset of the packet', async (_name, resolution, offset, ticks) => {
    const head = file(
      b.section(),
      b.interface([
        { code: 9, value: b.u8(resolution) },
        { code: 14, value: b.i64(offset) },
      ]),
    );
    const { error } = await read(file(head, b.packet(0, ticks, frame(60))));
    expect(error).toMatchObject({ code: 'CAPTURE_BAD_BLOCK', detail: { offset: head.length } });
    expect(error?.message).toContain('1970');
  });

  test('gives the direction that a packet’s flags state', async () => {
    const flags = (value: number) => ({ options: [{ code: 2, value: b.u32(value) }] });
    const commented = {
      options: [
        { code: 1, value: text('a comment') },
        { code: 2, value: b.u32(2) },
      ],
    };
    const unended = { options: [{ code: 2, value: b.u32(1) }], end: false };
    const more = [flags(0), flags(1), flags(2), flags(3), commented, unended];
    const { packets } = await read(file(start, ...more.map((m) => b.packet(0, 0n, frame(60), m))));
    expect(packets.map((p) => p.direction)).toEqual([0, 1, 2, 0, 2, 1]);
  });

  test('loses the frame check sequence that the interface or the packet states', async () => {
    const fcs = (value: number) => file(b.section(), b.interface([{ code: 13, value: b.u8(value) }]));
    const lengths = async (bytes: Uint8Array) =>
      (await read(bytes)).packets.map((p) => [p.data.length, p.originalLength]);
    for (const value of [4, 32])
      expect(await lengths(file(fcs(value), b.packet(0, 0n, frame(64))))).toEqual([[60, 60]]);
    expect(await lengths(file(fcs(0), b.packet(0, 0n, frame(64))))).toEqual([[64, 64]]);
    const flagged = b.packet(0, 0n, frame(64), { options: [{ code: 2, value: b.u32(4 << 5) }] });
    expect(await lengths(file(start, flagged))).toEqual([[60, 60]]);
    expect((await read(fcs(5))).error?.code).toBe('CAPTURE_BAD_BLOCK');
  });

  test('cuts simple packets at the snap length of the section’s first interface', async () => {
    const bytes = file(
      b.section(),
      b.interface([], 30),
      b.interface(),
      b.simplePacket(frame(30), 1514),
      b.simplePacket(frame(20)),
    );
    const { packets } = await read(bytes);
    expect(packets.map((p) => [p.data.length, p.originalLength])).toEqual([
      [30, 1514],
      [20, 20],
    ]);
  });

  test('of several sections, each with a byte order and interfaces of its own, is one capture', async () => {
    const other = new Blocks(!little);
    const second = file(
      other.section(),
      other.interface([{ code: 9, value: other.u8(9) }]),
      other.packet(0, 7n, frame(61)),
    );
    const { packets, interfaces, error } = await read(file(start, b.packet(0, 7n, frame(60)), second));
    expect(error).toBeUndefined();
    expect(interfaces).toHaveLength(2);
    expect(packets.map((p) => [p.interface, p.timestamp, p.data.length])).toEqual([
      [0, 7000n, 60],
      [1, 7n, 61],
    ]);
  });

  test('whose second section refers to an interface of the first is malformed', async () => {
    const head = file(start, b.packet(0, 0n, frame(60)), b.section());
    const { packets, error } = await read(file(head, b.packet(0, 0n, frame(60))));
    expect(packets).toHaveLength(1);
    expect(error).toMatchObject({ code: 'CAPTURE_BAD_BLOCK', detail: { offset: head.length } });
  });

  test('of minor version 2 is read as version 1.0, and of others refused', async () => {
    expect((await read(file(b.section([], 2), b.interface(), b.packet(0, 0n, frame(60))))).packets).toHaveLength(1);
    expect((await read(b.section([], 1))).error).toMatchObject({ code: 'CAPTURE_VERSION', detail: { offset: 12 } });
  });

  test('without byte-order magic is refused', async () => {
    const bytes = b.section();
    bytes[9] ^= 1;
    expect((await read(bytes)).error).toMatchObject({ code: 'CAPTURE_BAD_MAGIC', detail: { offset: 8 } });
  });

  test('with an interface that is not Ethernet is refused with the offset of its link type', async () => {
    const head = file(start, b.packet(0, 0n, frame(60)));
    const { packets, error } = await read(file(head, b.interface([], 0, 276)));
    expect(packets).toHaveLength(1);
    expect(error).toMatchObject({ code: 'CAPTURE_LINKTYPE', detail: { offset: head.length + 8 } });
  });

  /** Each: a block that cannot be right. */
  const packet = b.packet(0, 0n, frame(60));
  const patched = (block: Uint8Array, at: number, value: number) => {
    const bytes = new Uint8Array(block);
    new DataView(bytes.buffer).setUint32(at, value, little);
    return bytes;
  };
  test.each([
    ['a block length of 0', patched(packet, 4, 0)],
    ['a block length below 12', patched(packet, 4, 8)],
    ['a block length that is not a multiple of 4', patched(packet, 4, packet.length + 1)],
    ['a block length of 4 GiB', patched(packet, 4, 0xffff_fffc)],
    ['a block length just above 16 MiB', patched(packet, 4, 16 * 1024 * 1024 + 4)],
    ['two lengths that differ', patched(packet, packet.length - 4, packet.length - 4)],
    ['more captured bytes than the block has', patched(packet, 20, 61)],
    ['captured bytes that wrap around when padded', patched(packet, 20, 0xffff_fffd)],
    ['an interface that is not described', b.packet(1, 0n, frame(60))],
    ['an interface number of 4 billion', b.packet(0xffff_ffff, 0n, frame(60))],
    ['a packet block too short for its fields', b.block(6, [new Uint8Array(16)])],
    ['an obsolete packet block too short for its fields', b.block(2, [new Uint8Array(16)])],
    ['a simple packet block too short for its field', b.block(3, [])],
    ['a simple packet block too short for its packet', b.simplePacket(frame(60), 61)],
    ['a section header too short for its fields', b.block(0x0a0d0d0a, [b.u32(0x1a2b3c4d), new Uint8Array(8)])],
    ['an interface description too short for its fields', b.block(1, [b.u16(1), b.u16(0)])],
    ['an option longer than its block', b.block(1, [b.u16(1), b.u16(0), b.u32(0), b.u16(2), b.u16(5), b.u32(0)])],
    ['a resolution of two bytes', b.interface([{ code: 9, value: b.u16(6) }])],
    ['an offset of four bytes', b.interface([{ code: 14, value: b.u32(6) }])],
    ['flags of eight bytes', b.packet(0, 0n, frame(60), { options: [{ code: 2, value: b.i64(1n) }] })],
  ])('with %s gives what precedes it, then the offset', async (_name, block) => {
    const head = file(start, b.packet(0, 0n, frame(60)));
    const { packets, error } = await read(file(head, block, packet));
    expect(packets).toHaveLength(1);
    expect(error).toMatchObject({ code: 'CAPTURE_BAD_BLOCK', detail: { file: 'test.pcap', offset: head.length } });
    expect(error?.message).toContain(`byte ${head.length}`);
  });

  test('with a simple packet before any interface is malformed', async () => {
    expect((await read(file(b.section(), b.simplePacket(frame(60))))).error?.code).toBe('CAPTURE_BAD_BLOCK');
  });

  test('may describe 65,536 interfaces, and no more', async () => {
    const interfaces = file(...Array.from({ length: 65_536 }, () => b.interface()));
    const last = file(b.section(), interfaces, b.packet(65_535, 0n, frame(60)));
    const good = await read(last);
    expect([good.error, good.packets.length]).toEqual([undefined, 1]);
    expect((await read(file(last, b.interface()))).error).toMatchObject({
      code: 'CAPTURE_BAD_BLOCK',
      detail: { offset: last.length },
    });
  });

  test('with a block of exactly 16 MiB is read on behind it', async () => {
    const large = b.block(0xbad, [new Uint8Array(16 * 1024 * 1024 - 12)]);
    const { packets, error } = await read(file(start, large, b.packet(0, 0n, frame(60))), 3_000_000);
    expect(error).toBeUndefined();
    expect(packets).toHaveLength(1);
  });
});
