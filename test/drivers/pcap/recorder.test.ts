import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { BlockRing } from '../../../lib/drivers/pcap/block-ring.ts';
import { makeTxQueue } from '../../../lib/drivers/pcap/queue.ts';
import { Recorder, type RecorderFile } from '../../../lib/drivers/pcap/recorder.ts';
import type { TxQueue } from '../../../lib/queue.ts';
import { TX } from '../../../lib/queue.ts';
import { BytesSink } from '../../fakes/bytes.ts';
import { Blocks, file, frame } from '../../fakes/capture-files.ts';
import { until } from '../../fakes/pcap-port.ts';
import { AT, World } from '../../fakes/pcap-queues.ts';
import { read } from '../../fakes/read-capture.ts';

const NAMES = [
  'packets',
  'bytes',
  'completed',
  'runt',
  'oversize',
  'stopped',
  'extra_frames',
  'io_error',
  'no_output',
  'joined',
];
const b = new Blocks(true);
const head = file(b.section(), b.interface());

/** A file in memory that can be cut, and can hang. */
class FakeFile extends BytesSink implements RecorderFile {
  readonly name = 'out.pcapng';
  length = Number.POSITIVE_INFINITY;
  hang = false;
  private release: (() => void)[] = [];

  override async write(bytes: Uint8Array, at: number, length: number): Promise<number> {
    if (this.hang) await new Promise<void>((resolve) => this.release.push(resolve));
    return super.write(bytes, at, length);
  }

  async cut(length: number): Promise<void> {
    this.length = length;
  }

  stop(): void {}

  goOn(): void {
    this.hang = false;
    for (const resolve of this.release) resolve();
  }

  /** What a reader of the file would find. */
  async packets(): Promise<Uint8Array[]> {
    const { packets, error } = await read(file(head, this.bytes.slice(0, this.length)));
    expect(error).toBeUndefined();
    return packets.map((p) => p.data);
  }
}

interface Setup {
  readonly w: World;
  readonly tx: TxQueue;
  readonly ring: BlockRing;
  readonly recorder: Recorder;
  readonly errors: Error[];
}

const open: Recorder[] = [];
afterEach(async () => {
  for (const recorder of open.splice(0)) await recorder.stop();
});

function setup(out: FakeFile, stalledMs?: number): Setup {
  const w = new World({ words: 512, names: NAMES });
  const ring = new BlockRing(w.memory, AT.ring, w.words, AT.counters);
  const errors: Error[] = [];
  const recorder = new Recorder(out, 0, [ring], (error) => errors.push(error), stalledMs);
  open.push(recorder);
  return { w, tx: makeTxQueue(w.plan, w.context), ring, recorder, errors };
}

/** Transmits packets one by one, as long as they are accepted; returns those that were. */
async function transmit({ w, tx, recorder }: Setup, packets: readonly Uint8Array[]): Promise<Uint8Array[]> {
  const accepted: Uint8Array[] = [];
  for (const packet of packets) {
    const burst = w.burstOf([packet]);
    while (tx.transmit(burst, 0, 1) === 0) {
      if (recorder.failed !== undefined) {
        w.stack.give(burst.offsets, 0, 1);
        return accepted;
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    accepted.push(packet);
  }
  return accepted;
}

test('What is accepted is written in order, whatever the sizes of packets and writes, and counted as completed', async () => {
  const lengths = fc.array(fc.integer({ min: 14, max: 200 }), { minLength: 1, maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(lengths, fc.integer({ min: 1, max: 500 }), async (list, chunk) => {
      const out = new FakeFile({ chunk });
      const s = setup(out);
      s.recorder.start();
      const packets = list.map((length, i) => frame(length, i));
      expect(await transmit(s, packets)).toEqual(packets);
      await s.recorder.flush();
      expect(await out.packets()).toEqual(packets);
      expect(s.w.counters).toMatchObject({ packets: list.length, completed: list.length, io_error: 0 });
      expect(s.tx.reclaim()).toBe(0);
      expect(s.errors).toEqual([]);
      await s.recorder.stop();
    }),
    { numRuns: 40 },
  );
});

describe('When the file takes no more', () => {
  const packets = Array.from({ length: 12 }, (_, i) => frame(60 + i, i));

  test('after any number of bytes, every accepted frame is either in the file or counted as io_error', async () => {
    // 12 blocks of 104 to 116 bytes.
    for (let limit = 0; limit < 1320; limit += 11) {
      const out = new FakeFile({ limit, chunk: 50 });
      const s = setup(out);
      s.recorder.start();
      const accepted = await transmit(s, packets);
      await s.recorder.flush();
      const written = await out.packets();
      const { packets: taken, completed, io_error } = s.w.counters;
      expect(taken).toBe(accepted.length);
      expect(completed).toBe(written.length);
      expect(io_error).toBe(taken - completed);
      expect(written).toEqual(accepted.slice(0, written.length));
      expect(out.length).toBeLessThanOrEqual(limit);
      expect(s.errors).toMatchObject([{ code: 'ENOSPC' }]);
      expect(s.tx.reclaim()).toBe(0);
      expect(s.w.stack.free.size).toBe(64);
      await s.recorder.stop();
    }
  });

  test('nothing more is accepted; what slipped in meanwhile is counted too', async () => {
    const s = setup(new FakeFile({ limit: 0 }));
    s.recorder.start();
    s.tx.transmit(s.w.burstOf([frame(60)]), 0, 1);
    await until(() => s.errors.length > 0);
    expect(s.tx.transmit(s.w.burstOf([frame(60)]), 0, 1)).toBe(0);
    // A queue that was in the middle of a burst just then.
    s.w.tell({ failed: false });
    expect(s.tx.transmit(s.w.burstOf([frame(60), frame(60)]), 0, 2)).toBe(2);
    await until(() => s.w.counters.io_error === 3);
    expect(s.w.counters).toMatchObject({ packets: 3, completed: 0, io_error: 3 });
  });
});

describe('A file that hangs', () => {
  test('lets flush end after the deadline, with an error; what it was given counts as io_error, also if it wakes up', async () => {
    const out = new FakeFile();
    const s = setup(out, 30);
    s.recorder.start();
    out.hang = true;
    s.tx.transmit(s.w.burstOf([frame(60), frame(60)]), 0, 2);
    await s.recorder.flush();
    expect(s.errors).toMatchObject([{ code: 'CAPTURE_STALLED', message: expect.stringContaining('out.pcapng') }]);
    expect(s.w.counters).toMatchObject({ packets: 2, completed: 0, io_error: 2 });
    out.goOn();
    await s.recorder.stop();
    expect(s.w.counters).toMatchObject({ completed: 0, io_error: 2 });
  });

  test('that moves a little at a time is waited for', async () => {
    const out = new FakeFile({ chunk: 1 });
    const slow = out.write.bind(out);
    out.write = async (...args) => {
      await new Promise((resolve) => setTimeout(resolve, 2));
      return slow(...args);
    };
    const s = setup(out, 60);
    s.recorder.start();
    s.tx.transmit(s.w.burstOf([frame(60)]), 0, 1);
    await s.recorder.flush();
    expect(s.errors).toEqual([]);
    expect(await out.packets()).toEqual([frame(60)]);
  });

  test('does not touch the ring any more once the ring was given up', async () => {
    const out = new FakeFile();
    const s = setup(out, 20);
    s.recorder.start();
    out.hang = true;
    s.tx.transmit(s.w.burstOf([frame(60)]), 0, 1);
    await until(() => s.w.accepted === 1);
    await new Promise((resolve) => setTimeout(resolve, 10));
    s.ring.abandon(TX.stopped);
    await s.recorder.stop();
    const before = s.w.bytes.slice(0, AT.frames);
    out.goOn();
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(Buffer.compare(s.w.bytes.slice(0, AT.frames), before)).toBe(0);
    expect(s.w.counters).toMatchObject({ packets: 1, completed: 0, stopped: 1, io_error: 0 });
  });
});

test('A ring whose blocks make no sense stops the recording, with nothing uncounted', async () => {
  const s = setup(new FakeFile());
  s.tx.transmit(s.w.burstOf([frame(60), frame(60)]), 0, 2);
  // The length of the first block.
  new Int32Array(s.w.memory, AT.ring + 256, 2)[1] = 0;
  s.recorder.start();
  await until(() => s.errors.length > 0);
  expect(s.errors).toMatchObject([{ code: 'RING_CORRUPT' }]);
  expect(s.w.counters).toMatchObject({ packets: 2, completed: 0, io_error: 2 });
});

test('Several rings share a file without mixing their blocks', async () => {
  const out = new FakeFile({ chunk: 7 });
  const worlds = [0, 1, 2].map(() => new World({ words: 512, names: NAMES }));
  const rings = worlds.map((w) => new BlockRing(w.memory, AT.ring, w.words, AT.counters));
  const recorder = new Recorder(out, 0, rings, () => {});
  open.push(recorder);
  worlds.forEach((w, i) => {
    makeTxQueue(w.plan, w.context).transmit(w.burstOf([frame(60, i), frame(70, i)]), 0, 2);
  });
  recorder.start();
  await recorder.flush();
  const packets = await out.packets();
  expect(packets).toHaveLength(6);
  for (const i of [0, 1, 2]) for (const length of [60, 70]) expect(packets).toContainEqual(frame(length, i));
  expect(worlds.map((w) => w.counters.completed)).toEqual([2, 2, 2]);
});
