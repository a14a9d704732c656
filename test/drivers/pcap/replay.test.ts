import { writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { makeRxQueue } from '../../../lib/drivers/pcap/queue.ts';
import { RecordRing } from '../../../lib/drivers/pcap/record-ring.ts';
import { Replay, type ReplayOptions } from '../../../lib/drivers/pcap/replay.ts';
import type { RxQueue } from '../../../lib/queue.ts';
import { Blocks, file, frame } from '../../fakes/capture-files.ts';
import { temporaryFolder } from '../../fakes/folder.ts';
import { until } from '../../fakes/pcap-port.ts';
import { AT, World } from '../../fakes/pcap-queues.ts';

const path = temporaryFolder();
const b = new Blocks(true);
const head = file(b.section(), b.interface([{ code: 9, value: b.u8(9) }]));
const TOP = { loops: 1, timed: false };

interface Setup {
  readonly w: World;
  readonly rx: RxQueue;
  readonly replay: Replay;
  readonly errors: (Error & { code?: string })[];
  /** Packets delivered by then, of each error. */
  readonly delivered: number[];
}

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

let files = 0;

async function setup(bytes: Uint8Array, options: ReplayOptions, words = 1024): Promise<Setup> {
  const name = path(`${files++}.pcapng`);
  writeFileSync(name, bytes);
  const handle = await open(name);
  const w = new World({ words, names: ['packets', 'bytes', 'extra_frames', 'runt', 'oversize'], timed: options.timed });
  const errors: Error[] = [];
  const delivered: number[] = [];
  const ring = new RecordRing(w.memory, AT.ring, words, w.plan.maxLength);
  const replay = new Replay({ name, handle, regular: true }, ring, options, (error) => {
    errors.push(error);
    delivered.push(w.counters.packets);
  });
  closing.push(async () => {
    await replay.stop();
    await handle.close();
  });
  return { w, rx: makeRxQueue(w.plan, w.context), replay, errors, delivered };
}

/** Receives until `count` packets have come. */
async function receive({ w, rx }: Setup, count: number): Promise<Uint8Array[]> {
  const burst = w.burst(8);
  const packets: Uint8Array[] = [];
  await until(() => {
    rx.receive(burst);
    packets.push(...w.consume(burst));
    return packets.length >= count;
  });
  return packets;
}

const packets = (count: number) => Array.from({ length: count }, (_, i) => frame(60 + (i % 50), i));
const blocks = (list: Uint8Array[]) => list.map((data, i) => b.packet(0, BigInt(i) * 1000n, data));

test('All packets of a file are delivered once, through a ring much smaller than the file', async () => {
  const list = packets(500);
  const s = await setup(file(head, ...blocks(list)), TOP);
  expect(s.replay.finished).toBe(false);
  s.replay.start();
  expect(await receive(s, 500)).toEqual(list);
  await until(() => s.replay.finished);
  expect(s.errors).toEqual([]);
});

test('A source has not finished while packets wait in its ring', async () => {
  const s = await setup(file(head, ...blocks(packets(1))), TOP);
  s.replay.start();
  await until(() => s.rx.arm());
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(s.replay.finished).toBe(false);
  await receive(s, 1);
  await until(() => s.replay.finished);
});

describe('Loops', () => {
  test('deliver the file as often as asked', async () => {
    const list = packets(7);
    const s = await setup(file(head, ...blocks(list)), { loops: 3, timed: false });
    s.replay.start();
    expect(await receive(s, 21)).toEqual([...list, ...list, ...list]);
    await until(() => s.replay.finished);
    expect(s.w.counters.packets).toBe(21);
  });

  test('go on for ever when they are 0, and let the rest of the process work', async () => {
    const list = packets(7);
    const s = await setup(file(head, ...blocks(list)), { loops: 0, timed: false });
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    s.replay.start();
    expect((await receive(s, 2000)).length).toBeGreaterThanOrEqual(2000);
    clearInterval(timer);
    expect(s.replay.finished).toBe(false);
    expect(turns).toBeGreaterThan(0);
  });

  test('of a file too large to keep are read from it each time', async () => {
    const list = packets(5);
    const padding = b.block(0xbad, [new Uint8Array(5 * 1024 * 1024)]);
    const s = await setup(file(head, padding, ...blocks(list)), { loops: 3, timed: false });
    s.replay.start();
    expect(await receive(s, 15)).toEqual([...list, ...list, ...list]);
    await until(() => s.replay.finished);
  });

  test('of a file without packets end at once', async () => {
    const s = await setup(head, { loops: 0, timed: false });
    s.replay.start();
    await until(() => s.replay.finished);
    expect(s.errors).toEqual([]);
  });
});

describe('A broken file', () => {
  test('is reported after the packets before the broken part were delivered; then the source has finished', async () => {
    const list = packets(100);
    const good = file(head, ...blocks(list));
    const s = await setup(file(good, new Uint8Array(3)), TOP, 512);
    s.replay.start();
    expect(await receive(s, 100)).toEqual(list);
    await until(() => s.replay.finished);
    expect(s.errors).toMatchObject([{ code: 'CAPTURE_TRUNCATED', detail: { offset: good.length } }]);
    expect(s.delivered).toEqual([100]);
  });

  test('is not read again by the next loop', async () => {
    const s = await setup(file(head, ...blocks(packets(3)), new Uint8Array(12)), { loops: 0, timed: false });
    s.replay.start();
    await receive(s, 3);
    await until(() => s.replay.finished);
    expect(s.errors).toMatchObject([{ code: 'CAPTURE_BAD_BLOCK' }]);
    expect(s.w.counters.packets).toBe(3);
  });
});

describe('With original timing', () => {
  /** Advances the clock in steps; tells at which nanosecond after the first each packet came. */
  async function times(s: Setup, count: number, step: number): Promise<number[]> {
    const burst = s.w.burst(8);
    const seen: number[] = [];
    await until(() => s.rx.arm());
    const start = s.w.clock.ns;
    await new Promise((resolve) => setTimeout(resolve, 20));
    await until(() => {
      s.rx.receive(burst);
      seen.push(...s.w.consume(burst).map(() => s.w.clock.ns - start));
      s.w.clock.ns += step;
      return seen.length >= count;
    });
    return seen;
  }

  const at = (...ticks: bigint[]) => file(head, ...ticks.map((t, i) => b.packet(0, t, frame(60, i))));
  const BASE = 1_700_000_000_000_000_000n;

  test('packets come at the distances of their time stamps', async () => {
    const s = await setup(at(BASE, BASE + 500n, BASE + 500n, BASE + 2000n), { loops: 1, timed: true });
    s.replay.start();
    expect(await times(s, 4, 100)).toEqual([0, 500, 500, 2000]);
    await until(() => s.replay.finished);
  });

  test('each loop begins where the one before it ended', async () => {
    const s = await setup(at(BASE, BASE + 300n, BASE + 1000n), { loops: 3, timed: true });
    s.replay.start();
    expect(await times(s, 9, 100)).toEqual([0, 300, 1000, 1000, 1300, 2000, 2000, 2300, 3000]);
  });

  test('a packet that is older than its predecessor, or has no time, comes with it', async () => {
    const body = [b.simplePacket(frame(60)), b.packet(0, BASE, frame(60)), b.packet(0, BASE + 700n, frame(60))];
    const late = [b.packet(0, BASE + 100n, frame(60)), b.simplePacket(frame(60)), b.packet(0, BASE + 900n, frame(60))];
    const s = await setup(file(head, ...body, ...late), { loops: 1, timed: true });
    s.replay.start();
    expect(await times(s, 6, 100)).toEqual([0, 0, 700, 700, 700, 900]);
  });
});

test('Packets too long for the port are counted, not stored; long and short ones keep their bytes', async () => {
  const list = [
    frame(1518, 1),
    frame(191, 2),
    frame(192, 3),
    frame(193, 4),
    frame(1519, 5),
    frame(60_000, 6),
    frame(3, 7),
    frame(14, 8),
  ];
  const s = await setup(file(head, ...blocks(list)), TOP);
  s.replay.start();
  expect(await receive(s, 5)).toEqual(list.filter(({ length }) => length >= 14 && length <= 1518));
  await until(() => s.replay.finished);
  expect(s.w.counters).toEqual({
    packets: 5,
    bytes: 1518 + 191 + 192 + 193 + 14,
    extra_frames: 0,
    runt: 1,
    oversize: 2,
  });
});

test('A reading that is stopped leaves the ring alone', async () => {
  const s = await setup(file(head, ...blocks(packets(500))), { loops: 0, timed: false });
  s.replay.start();
  await receive(s, 100);
  await s.replay.stop();
  const before = s.w.bytes.slice(0, AT.frames);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(Buffer.compare(s.w.bytes.slice(0, AT.frames), before)).toBe(0);
  expect(s.errors).toEqual([]);
});
