/** `linecard gen` and `linecard sink` as a user runs them: what one sends the other checks, by way of a file. */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { expectSuccess, linecard, summaryOf, testFolder } from '../fakes/command.ts';
import { read } from '../fakes/read-capture.ts';

describe('gen', () => {
  test('sends as many as it was told to, and ends by itself', async () => {
    const ended = await linecard(['gen', '--count', '10k', 'null:0', 'null:1']);
    expectSuccess(ended);
    expect(ended.stdout).toContain('all sources have ended');
    expect(ended.stdout).toMatch(/^gen: sent 10,000/m);
  });

  test('keeps its rate', async () => {
    const ended = await linecard(['gen', '-j', '--rate', '20k', '--time', '1.5', 'null:0']);
    expectSuccess(ended);
    const { seconds, jobs } = summaryOf(ended);
    const { sent, missed } = jobs[0].counters;
    // On a machine that others use it may be late; what it gave up is counted.
    expect(sent + missed).toBeGreaterThan(20_000 * (seconds - 0.5));
    expect(sent + missed).toBeLessThan(20_000 * (seconds + 0.1));
  });

  test('makes frames of the size it was told to', async () => {
    const path = testFolder();
    expectSuccess(await linecard(['gen', '--count', '100', '--size', '777', `pcap:out=${path('x.pcapng')}`]));
    const { packets } = await read(readFileSync(path('x.pcapng')));
    expect(packets.map(({ data }) => data.length)).toEqual(Array(100).fill(777));
  });
});

describe('sink', () => {
  async function capture(path: (name: string) => string): Promise<string> {
    expectSuccess(
      await linecard(['gen', '--count', '1000', '--flows', '10', '--size', '200', `pcap:out=${path('x.pcapng')}`]),
    );
    return path('x.pcapng');
  }

  test('finds everything intact and in order', async () => {
    const file = await capture(testFolder());
    const ended = await linecard(['sink', `pcap:${file}`]);
    expectSuccess(ended);
    expect(ended.stdout).toMatch(/^sink: 1,000 received, 1,000 intact, 0 lost, all in order$/m);
  });

  test('finds the byte that was changed, and ends with 1', async () => {
    const file = await capture(testFolder());
    const bytes = readFileSync(file);
    bytes[bytes.length / 2] ^= 0x10;
    // In the middle of the file, which is nearly all payload; the reader would refuse a broken block.
    writeFileSync(file, bytes);
    const ended = await linecard(['sink', '-j', `pcap:${file}`]);
    expect(summaryOf(ended).verdict).toMatchObject({ ok: false, counters: { received: 1000, ok: 999, corrupt: 1 } });
    expect(ended.code).toBe(1);
  });

  test('counts as lost what it should have seen before, which is no failure of its own', async () => {
    const path = testFolder();
    const file = await capture(path);
    const bytes = readFileSync(file);
    const block = 32 + 200 + 12; // an enhanced packet block: header and data, then flags, end of options, and length
    const first = bytes.indexOf(Buffer.from([6, 0, 0, 0, block, 0, 0, 0]));
    writeFileSync(file, Buffer.concat([bytes.subarray(0, first), bytes.subarray(first + block)]));
    const ended = await linecard(['sink', '-j', `pcap:${file}`]);
    expectSuccess(ended);
    expect(summaryOf(ended).verdict).toMatchObject({ ok: true, counters: { received: 999, lost: 1 } });
  });

  test('takes flows from --flows on for foreign', async () => {
    const file = await capture(testFolder());
    const ended = await linecard(['sink', '-j', '--flows', '4', `pcap:${file}`]);
    expect(summaryOf(ended).verdict).toMatchObject({ counters: { received: 1000, foreign: 600 } });
  });
});
