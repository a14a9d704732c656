import { describe, expect, test } from 'vitest';
import { CaptureReader } from '../../lib/capture/reader.ts';
import { bytesSource } from '../fakes/bytes.ts';
import { frame, pcapFile } from '../fakes/capture-files.ts';
import { read } from '../fakes/read-capture.ts';

const SHAPES = [
  { little: true, nano: false },
  { little: true, nano: true },
  { little: false, nano: false },
  { little: false, nano: true },
];

describe.each(SHAPES)('a pcap file, $little little-endian, $nano nanoseconds', (shape) => {
  test('gives each packet with its time, its length and its bytes', async () => {
    const bytes = pcapFile(shape, [
      { seconds: 1, fraction: 2, data: frame(60, 1) },
      { seconds: 1_700_000_000, fraction: 999_999, data: frame(61, 2), original: 1514 },
      { seconds: 0xffff_ffff, fraction: 1, data: new Uint8Array(0), original: 0 },
    ]);
    const unit = shape.nano ? 1n : 1000n;
    const { packets, error } = await read(bytes);
    expect(error).toBeUndefined();
    expect(packets).toEqual([
      { interface: 0, timestamp: 1_000_000_000n + 2n * unit, originalLength: 60, direction: 0, data: frame(60, 1) },
      {
        interface: 0,
        timestamp: 1_700_000_000_000_000_000n + 999_999n * unit,
        originalLength: 1514,
        direction: 0,
        data: frame(61, 2),
      },
      {
        interface: 0,
        timestamp: 0xffff_ffffn * 1_000_000_000n + unit,
        originalLength: 0,
        direction: 0,
        data: new Uint8Array(0),
      },
    ]);
  });

  test('gives the same packets when one byte arrives at a time', async () => {
    const bytes = pcapFile(
      shape,
      [1, 2, 3].map((seconds) => ({ seconds, fraction: 0, data: frame(20 + seconds) })),
    );
    const { packets } = await read(bytes, 1);
    expect(packets.map((p) => p.data)).toEqual([frame(21), frame(22), frame(23)]);
  });

  test('whose link type is not Ethernet is refused with the offset of the link type', async () => {
    const { error } = await read(pcapFile({ ...shape, linkType: 113 }, []));
    expect(error).toMatchObject({ code: 'CAPTURE_LINKTYPE', detail: { offset: 20 } });
    expect(error?.message).toContain('link type 113');
  });

  test('of another version is refused', async () => {
    const { error } = await read(pcapFile({ ...shape, minor: 3 }, []));
    expect(error).toMatchObject({ code: 'CAPTURE_VERSION', detail: { offset: 4 } });
  });

  test('loses the frame check sequence when its header tells that there is one', async () => {
    // FCS length 2 (in 16-bit words), P bit set: pcap §4.
    const linkType = 0x2400_0001;
    const whole = { seconds: 0, fraction: 0, data: frame(64) };
    const cutInFcs = { ...whole, data: frame(62), original: 64 };
    const cutBefore = { ...whole, data: frame(30), original: 64 };
    const tiny = { ...whole, data: frame(2), original: 2 };
    const { packets } = await read(pcapFile({ ...shape, linkType }, [whole, cutInFcs, cutBefore, tiny]));
    expect(packets.map((p) => [p.data.length, p.originalLength])).toEqual([
      [60, 60],
      [60, 60],
      [30, 60],
      [0, 0],
    ]);
  });

  test('with reserved bits beside its link type is refused', async () => {
    const { error } = await read(pcapFile({ ...shape, linkType: 0x0800_0001 }, []));
    expect(error).toMatchObject({ code: 'CAPTURE_LINKTYPE' });
  });

  test('never has an original length less than what was captured', async () => {
    const { packets } = await read(pcapFile(shape, [{ seconds: 0, fraction: 0, data: frame(60), original: 10 }]));
    expect(packets[0].originalLength).toBe(60);
  });

  test.each([0xffff_ffff, 0x8000_0000, 16 * 1024 * 1024 - 15])(
    'with a record that claims %i bytes gives what precedes it, then the offset',
    async (captured) => {
      const good = { seconds: 0, fraction: 0, data: frame(60) };
      const { packets, error } = await read(pcapFile(shape, [good, { ...good, captured }, good]));
      expect(packets).toHaveLength(1);
      expect(error).toMatchObject({ code: 'CAPTURE_BAD_BLOCK', detail: { offset: 24 + 16 + 60 } });
      expect(error?.message).toContain('byte 100');
      expect(error?.message).toContain(String(captured));
    },
  );

  test('with the longest record that is believed gives it whole', async () => {
    const data = new Uint8Array(16 * 1024 * 1024 - 16).fill(0xa5);
    const { packets, error } = await read(pcapFile(shape, [{ seconds: 0, fraction: 0, data }]), 1024 * 1024);
    expect(error).toBeUndefined();
    expect(Buffer.compare(packets[0].data, data)).toBe(0);
  });
});

test('A file without packets is a capture with one interface and no packets', async () => {
  const reader = new CaptureReader('x', bytesSource(pcapFile({ little: true, nano: true }, [])));
  expect(await reader.fill()).toBe(true);
  expect(reader.next()).toBe(false);
  expect(await reader.fill()).toBe(false);
  expect(reader.format).toBe('pcap');
  expect(reader.interfaces).toHaveLength(1);
});
