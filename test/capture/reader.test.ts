import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, createWriteStream, mkdirSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CaptureReader, openCapture } from '../../lib/capture/reader.ts';
import { ByteWindow } from '../../lib/capture/window.ts';
import { CaptureError } from '../../lib/errors.ts';
import { bytesSource } from '../fakes/bytes.ts';
import { Blocks, file, frame, pcapFile } from '../fakes/capture-files.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { read } from '../fakes/read-capture.ts';

const path = temporaryFolder();
const b = new Blocks(true);
const other = new Blocks(false);

/** Small files of every kind, each with the offsets at which it may end. */
const pcap = pcapFile(
  { little: false, nano: true },
  [60, 0, 33].map((n) => ({ seconds: n, fraction: 0, data: frame(n) })),
);
const pieces = [
  b.section([{ code: 4, value: new TextEncoder().encode('test') }]),
  b.interface([
    { code: 9, value: b.u8(9) },
    { code: 13, value: b.u8(0) },
    { code: 14, value: b.i64(3n) },
  ]),
  b.packet(0, 1n, frame(60), { options: [{ code: 2, value: b.u32(1) }] }),
  b.simplePacket(frame(33)),
  b.block(5, [new Uint8Array(12)]),
  other.section(),
  other.interface(),
  other.packet(0, 5n, frame(14)),
];
const ends = (lengths: number[]) => lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, n) => a + n, 0));
const FILES: [name: string, bytes: Uint8Array, ends: number[]][] = [
  ['pcap', pcap, ends([24, 16 + 60, 16, 16 + 33])],
  ['pcapng', file(...pieces), ends(pieces.map((p) => p.length))],
];

describe.each(FILES)('a %s file', (_name, bytes, goodEnds) => {
  test('that ends at any byte gives every packet before it, and tells where what is cut off starts', async () => {
    const whole = await read(bytes);
    expect(whole.error).toBeUndefined();
    for (let length = 0; length < bytes.length; length++) {
      const { packets, error } = await read(bytes.slice(0, length));
      const complete = goodEnds.filter((end) => end <= length).at(-1) ?? 0;
      const expected = (await read(bytes.slice(0, complete))).packets;
      expect(packets).toEqual(complete === 0 ? [] : expected);
      expect(packets).toEqual(whole.packets.slice(0, packets.length));
      if (complete === length && length > 0) expect(error).toBeUndefined();
      else expect(error).toMatchObject({ code: 'CAPTURE_TRUNCATED', detail: { offset: complete } });
      if (length > 0 && error) expect(error.message).toContain(`ends at byte ${length}`);
    }
  });

  test('with flipped bytes gives packets that lie inside it, then ends or says why not', async () => {
    const flip = fc.record({ at: fc.nat(bytes.length - 1), value: fc.integer({ min: 0, max: 255 }) });
    const flips = fc.array(flip, { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(flips, fc.integer({ min: 1, max: 50 }), async (list, chunk) => {
        const broken = new Uint8Array(bytes);
        for (const { at, value } of list) broken[at] = value;
        const { packets, error } = await read(broken, chunk);
        const total = packets.reduce((sum, p) => sum + p.data.length, 0);
        expect(total).toBeLessThan(bytes.length);
        for (const p of packets) expect(p.originalLength).toBeGreaterThanOrEqual(p.data.length);
        if (error === undefined) return;
        expect(error).toBeInstanceOf(CaptureError);
        expect(error.code).toMatch(/^CAPTURE_[A-Z_]+$/);
        expect(error.detail.offset).toBeLessThanOrEqual(bytes.length);
      }),
      { numRuns: 2000 },
    );
  });
});

test('Random bytes are no capture, or end with an error', async () => {
  const start = fc.constantFrom(file(b.section(), b.interface()), pcapFile({ little: true, nano: false }, []));
  await fc.assert(
    fc.asyncProperty(start, fc.uint8Array({ minLength: 1, maxLength: 200 }), async (head, tail) => {
      expect((await read(tail)).packets).toEqual([]);
      const { error } = await read(file(head, tail), 7);
      if (error !== undefined) expect(error.detail.offset).toBeGreaterThanOrEqual(head.length);
    }),
  );
});

test('A file of another kind is refused with what it starts with', async () => {
  const { error } = await read(Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0));
  expect(error).toMatchObject({ code: 'CAPTURE_BAD_MAGIC', detail: { offset: 0 } });
  expect(error?.message).toContain('1f8b0800');
  expect(error?.message).toContain('decompress');
});

test('An empty file is said to be empty', async () => {
  const { error } = await read(new Uint8Array(0));
  expect(error).toMatchObject({ code: 'CAPTURE_TRUNCATED', detail: { offset: 0 } });
  expect(error?.message).toContain('it is empty');
});

test('After an error the reader stays where it is', async () => {
  const reader = new CaptureReader('x', bytesSource(Uint8Array.of(1, 2, 3, 4)));
  await reader.fill();
  expect(() => reader.next()).toThrow(/neither pcap nor pcapng/);
  expect(() => reader.next()).toThrow(/neither pcap nor pcapng/);
});

test('Memory follows what a file has, not what it claims, and stays at one block', async () => {
  const liar = b.block(0xbad, [new Uint8Array(1000)]);
  new DataView(liar.buffer).setUint32(4, 16 * 1024 * 1024, true);
  const small = new ByteWindow(64);
  const reader = new CaptureReader('x', bytesSource(file(b.section(), liar)), small);
  const all = async () => {
    for await (const _ of reader.packets());
  };
  await expect(all()).rejects.toMatchObject({ code: 'CAPTURE_TRUNCATED' });
  expect(small.bytes.length).toBeLessThanOrEqual(2048);

  const window = new ByteWindow(64);
  const packets = Array.from({ length: 2000 }, (_, i) => b.packet(0, 0n, frame(60 + (i % 40))));
  const long = new CaptureReader('x', bytesSource(file(b.section(), b.interface(), ...packets)), window);
  let count = 0;
  for await (const _ of long.packets()) count++;
  expect(count).toBe(2000);
  expect(window.bytes.length).toBe(256);
});

describe('opening', () => {
  test('a file reads it from disk', async () => {
    writeFileSync(path('a.pcap'), pcap);
    const capture = await openCapture(path('a.pcap'));
    const lengths: number[] = [];
    for await (const { data } of capture.reader.packets()) lengths.push(data.length);
    await capture.close();
    expect(lengths).toEqual([60, 0, 33]);
  });

  test('a path that does not exist names the path and what to check', async () => {
    await expect(openCapture(path('none.pcap'))).rejects.toMatchObject({
      code: 'CAPTURE_NOT_FOUND',
      message: expect.stringMatching(/none\.pcap cannot be opened: there is no such file.*ENOENT.*; check the path/),
    });
  });

  test('a path through a file is not found', async () => {
    writeFileSync(path('plain'), '');
    await expect(openCapture(path('plain/in.pcap'))).rejects.toMatchObject({ code: 'CAPTURE_NOT_FOUND' });
  });

  test('a folder says that it is one', async () => {
    mkdirSync(path('folder'));
    await expect(openCapture(path('folder'))).rejects.toMatchObject({ code: 'CAPTURE_NOT_A_FILE' });
  });

  test.skipIf(process.getuid?.() === 0)(
    'a file without permission names the remedy (skipped as root, who may)',
    async () => {
      writeFileSync(path('secret.pcap'), pcap);
      chmodSync(path('secret.pcap'), 0);
      await expect(openCapture(path('secret.pcap'))).rejects.toMatchObject({
        code: 'CAPTURE_DENIED',
        message: expect.stringContaining('chmod'),
      });
    },
  );

  test('a device that is empty ends at once', async () => {
    const capture = await openCapture('/dev/null');
    await expect(capture.reader.packets().next()).rejects.toMatchObject({ code: 'CAPTURE_TRUNCATED' });
    await capture.close();
  });

  test('a pipe waits for its writer, and for each of its pieces', async () => {
    execFileSync('mkfifo', [path('fifo')]);
    const capture = await openCapture(path('fifo'));
    const lengths: number[] = [];
    const reading = (async () => {
      for await (const { data } of capture.reader.packets()) lengths.push(data.length);
    })();
    const writer = createWriteStream(path('fifo'));
    for (const byte of [pcap.slice(0, 30), pcap.slice(30, 100), pcap.slice(100)]) {
      writer.write(byte);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    writer.end();
    await once(writer, 'close');
    await reading;
    await capture.close();
    expect(lengths).toEqual([60, 0, 33]);
  });
});
