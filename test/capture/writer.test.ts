import { writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { interfaceDescription, sectionHeader } from '../../lib/capture/encode.ts';
import { openCapture } from '../../lib/capture/reader.ts';
import { FileSink, openOutput } from '../../lib/capture/sink.ts';
import type { CapturePacket } from '../../lib/capture/types.ts';
import { PcapngWriter } from '../../lib/capture/writer.ts';
import { BytesSink } from '../fakes/bytes.ts';
import { frame } from '../fakes/capture-files.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { read } from '../fakes/read-capture.ts';
import { run, testWith, tsharkFields } from '../fakes/tools.ts';

const path = temporaryFolder();
const NOW = 1_700_000_000_123_456_789n;

const direction = fc.constantFrom<0 | 1 | 2>(0, 1, 2);
const packet = fc.record({
  interface: fc.nat(2),
  timestamp: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  data: fc.uint8Array({ maxLength: 70 }),
  cut: fc.nat(2000),
  direction,
});

async function written(
  packets: readonly CapturePacket[],
  names = ['a', 'b', 'c'],
  chunk?: number,
): Promise<Uint8Array> {
  const sink = new BytesSink(chunk === undefined ? {} : { chunk });
  const writer = new PcapngWriter(sink, {}, () => NOW);
  for (const name of names) writer.addInterface(name);
  for (const p of packets) await writer.write(p);
  await writer.close();
  return sink.bytes;
}

test('What was written is read back: every packet, time, length, direction and interface', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(packet), fc.integer({ min: 1, max: 300 }), async (list, chunk) => {
      const packets = list.map(({ cut, ...p }) => ({ ...p, originalLength: p.data.length + cut }));
      const { packets: back, interfaces, error } = await read(await written(packets, ['a', 'b', 'c'], chunk), chunk);
      expect(error).toBeUndefined();
      expect(back).toEqual(packets);
      expect(interfaces.map((i) => i.name)).toEqual(['a', 'b', 'c']);
    }),
  );
});

test('A packet’s length before the capture cut it, and its direction, may be left out', async () => {
  const { packets } = await read(await written([{ interface: 0, timestamp: 1n, data: frame(60) }]));
  expect(packets).toEqual([{ interface: 0, timestamp: 1n, data: frame(60), originalLength: 60, direction: 0 }]);
});

test('The blocks are the draft’s, byte by byte', async () => {
  const sink = new BytesSink();
  const writer = new PcapngWriter(sink, { hardware: 'x64', os: 'Linux', application: 'lc' }, () => 0x1_0000_0002n);
  writer.addInterface('if0', 96);
  await writer.write({
    interface: 0,
    timestamp: 0x3_0000_0004n,
    data: Uint8Array.of(1, 2, 3, 4, 5),
    originalLength: 9,
    direction: 2,
  });
  writer.countDropped(0, 7n);
  await writer.close();
  const expected = [
    // Section header block, §4.1
    '0a0d0d0a 3c000000 4d3c2b1a 0100 0000 ffffffffffffffff',
    '0200 0300 78363400  0300 0500 4c696e7578 000000  0400 0200 6c63 0000  0000 0000  3c000000',
    // Interface description block, §4.2
    '01000000 28000000 0100 0000 60000000  0200 0300 69663000  0900 0100 09000000  0000 0000  28000000',
    // Enhanced packet block, §4.3
    '06000000 34000000 00000000 03000000 04000000 05000000 09000000',
    '0102030405 000000  0200 0400 02000000  0000 0000  34000000',
    // Interface statistics block, §4.6
    '05000000 4c000000 00000000 01000000 02000000',
    '0200 0800 01000000 02000000  0300 0800 01000000 02000000',
    '0400 0800 0800000000000000  0500 0800 0700000000000000  0000 0000  4c000000',
  ];
  expect(Buffer.from(sink.bytes).toString('hex')).toBe(expected.join('').replaceAll(' ', ''));
});

test('A text that is too long for an option is refused, and one of the greatest length is read back', async () => {
  expect(() => interfaceDescription('x'.repeat(65_536))).toThrow(expect.objectContaining({ code: 'CAPTURE_OPTION' }));
  const name = 'x'.repeat(65_535);
  const { interfaces } = await read(Buffer.concat([sectionHeader({}), interfaceDescription(name)]));
  expect(interfaces[0].name).toBe(name);
});

describe('what other programs make of it', () => {
  const packets: CapturePacket[] = [
    { interface: 0, timestamp: NOW, data: frame(60, 1), direction: 1 },
    { interface: 1, timestamp: NOW + 1n, data: frame(61, 2), direction: 2 },
    { interface: 0, timestamp: NOW + 1_000_000_007n, data: frame(62, 3), originalLength: 1514 },
  ];
  const writeExample = async (name: string) => {
    writeFileSync(path(name), await written(packets, ['pcap:in.pcapng', 'ünïcode 0'], 100));
    return path(name);
  };

  testWith('tcpdump', 'tcpdump reads every packet, with its nanoseconds', async () => {
    const out = run('tcpdump', '-n', '-tt', '--nano', '-r', await writeExample('tcpdump.pcapng'));
    const times = out
      .split('\n')
      .filter((line) => line.includes('02:00:00:00:00:02'))
      .map((line) => line.split(' ')[0]);
    expect(times).toEqual(['1700000000.123456789', '1700000000.123456790', '1700000001.123456796']);
  });

  testWith('capinfos', 'capinfos finds the packets, the interfaces, their names and their statistics', async () => {
    const out = run('capinfos', '-M', await writeExample('capinfos.pcapng'));
    expect(out).toMatch(/File type:\s+.*pcapng/);
    expect(out).toMatch(/Number of packets:\s+3\n/);
    expect(out).toMatch(/Number of interfaces in file:\s+2\n/);
    expect(out).toContain('Name = pcap:in.pcapng');
    expect(out).toContain('Name = ünïcode 0');
    expect(out).toMatch(/Time precision = nanoseconds \(9\)/);
    expect(out).toMatch(/Number of stat entries = 1/);
  });

  testWith('tshark', 'tshark finds the same bytes, lengths, interfaces and directions', async () => {
    const fields = [
      'frame.interface_name',
      'frame.packet_flags_direction',
      'frame.cap_len',
      'frame.len',
      'frame.time_epoch',
    ];
    expect(tsharkFields(await writeExample('tshark.pcapng'), ...fields)).toEqual([
      ['pcap:in.pcapng', '0x00000001', '60', '60', '1700000000.123456789'],
      ['ünïcode 0', '0x00000002', '61', '61', '1700000000.123456790'],
      ['pcap:in.pcapng', '0x00000000', '62', '1514', '1700000001.123456796'],
    ]);
    const hex = run('tshark', '-n', '-x', '-r', path('tshark.pcapng'), '-Y', 'frame.number==2');
    const bytes = hex
      .split('\n')
      .flatMap((line) => /^[0-9a-f]{4} {2}((?:[0-9a-f]{2} )+)/.exec(line)?.[1].trim().split(' ') ?? []);
    expect(bytes.join('')).toBe(Buffer.from(frame(61, 2)).toString('hex'));
  });

  testWith('editcap', 'files that editcap wrote, in either format and precision, are read back', async () => {
    const source = await writeExample('editcap.pcapng');
    for (const [format, unit] of [
      ['pcap', 1000n],
      ['nsecpcap', 1n],
      ['pcapng', 1n],
    ] as const) {
      const target = path(`editcap-${format}`);
      // A pcap file cannot hold two interfaces: editcap would refuse to drop the second.
      if (format === 'pcapng') run('editcap', '-F', format, source, target);
      else run('editcap', '-F', format, '-T', 'ether', source, target);
      const capture = await openCapture(target);
      const back: CapturePacket[] = [];
      for await (const p of capture.reader.packets()) back.push(p);
      await capture.close();
      expect(back.map((p) => p.timestamp)).toEqual(packets.map((p) => (p.timestamp / unit) * unit));
      expect(back.map((p) => p.data)).toEqual(packets.map((p) => p.data));
      expect(back.map((p) => p.originalLength)).toEqual([60, 61, 1514]);
    }
  });
});

describe('a sink', () => {
  test('that fails gives the error of its file, with cause and remedy', async () => {
    const handle = await open('/dev/full', 'w');
    const writer = new PcapngWriter(new FileSink('/dev/full', handle));
    writer.addInterface('x');
    await expect(writer.close()).rejects.toMatchObject({
      code: 'CAPTURE_DISK_FULL',
      message: expect.stringMatching(/capture \/dev\/full cannot be written: no space is left.*ENOSPC.*; free some/),
    });
    await handle.close();
  });

  test('in a folder that does not exist cannot be opened', async () => {
    await expect(openOutput(path('none/out.pcapng'))).rejects.toMatchObject({ code: 'CAPTURE_NOT_FOUND' });
  });

  test('that is a folder cannot be opened', async () => {
    await expect(openOutput(path('.'))).rejects.toMatchObject({ code: 'CAPTURE_NOT_A_FILE' });
  });

  test('that is a pipe without a reader says so instead of waiting', async () => {
    run('mkfifo', path('out.fifo'));
    await expect(openOutput(path('out.fifo'))).rejects.toMatchObject({ code: 'CAPTURE_NO_READER' });
  });

  test('that is a pipe takes more than fits in it, as fast as it is read, and stops waiting when told to', async () => {
    run('mkfifo', path('full.fifo'));
    const reader = await open(path('full.fifo'), 'r+');
    const handle = await openOutput(path('full.fifo'));
    const sink = new FileSink('full.fifo', handle);
    const bytes = new Uint8Array(300_000).fill(7);
    const writing = (async () => {
      for (let at = 0; at < bytes.length; ) at += await sink.write(bytes, at, bytes.length - at);
    })();
    const into = new Uint8Array(bytes.length);
    for (let at = 0; at < into.length; ) at += (await reader.read(into, at, into.length - at)).bytesRead;
    await writing;
    expect(Buffer.compare(into, bytes)).toBe(0);
    const stuck = (async () => {
      for (;;) await sink.write(bytes, 0, bytes.length);
    })();
    setTimeout(() => sink.stop(), 20);
    await expect(stuck).rejects.toMatchObject({ code: 'CAPTURE_IO' });
    await handle.close();
    await reader.close();
  });
});
