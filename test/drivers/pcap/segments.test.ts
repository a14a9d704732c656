import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { makeRxQueue, makeTxQueue } from '../../../lib/drivers/pcap/queue.ts';
import { RX_NAMES } from '../../../lib/drivers/pcap/rx-queue.ts';
import { TX_NAMES } from '../../../lib/drivers/pcap/tx-queue.ts';
import { COUNTER_NAMES } from '../../../lib/pktio/memory-port.ts';
import { MORE } from '../../../lib/queue.ts';
import { Blocks, file, frame } from '../../fakes/capture-files.ts';
import { World } from '../../fakes/pcap-queues.ts';
import { read } from '../../fakes/read-capture.ts';

const txWorld = (more: Partial<ConstructorParameters<typeof World>[0]> = {}) =>
  new World({ words: 8192, names: [...COUNTER_NAMES.tx, ...TX_NAMES], maxLength: 9018, ...more });
const rxWorld = (more: Partial<ConstructorParameters<typeof World>[0]> = {}) =>
  new World({ words: 8192, names: [...COUNTER_NAMES.rx, ...RX_NAMES], maxLength: 9018, ...more });
const b = new Blocks(true);
/** What a file begins with. */
const head = file(b.section(), b.interface([{ code: 9, value: b.u8(9) }]));

/** A burst of one packet, cut into segments of these lengths. */
function cut(w: World, packet: Uint8Array, lengths: readonly number[]) {
  let from = 0;
  const parts = lengths.map((n) => {
    from += n;
    return packet.slice(from - n, from);
  });
  const burst = w.burstOf(parts);
  for (let i = 0; i < lengths.length - 1; i++) burst.lengths[i]! += MORE;
  return burst;
}

describe('A recorded packet of several frames', () => {
  test('is one block with all its bytes, wherever it is cut and wherever the ring wraps', async () => {
    const lengths = fc.tuple(
      fc.integer({ min: 14, max: 2000 }),
      fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 8 }),
    );
    await fc.assert(
      fc.asyncProperty(lengths, fc.integer({ min: -3000, max: 3000 }), async ([first, more], start) => {
        const w = txWorld();
        w.startAt(start);
        const tx = makeTxQueue(w.plan, w.context);
        const all = [first, ...more];
        const packet = frame(
          all.reduce((sum, n) => sum + n, 0),
          7,
        );
        const burst = cut(w, packet, all);
        expect(tx.transmit(burst, 0, burst.size)).toBe(burst.size);
        expect(tx.transmit(w.burstOf([frame(60)]), 0, 1)).toBe(1);
        const { packets } = await read(file(head, w.takeBlocks()));
        expect(packets.map(({ data }) => data)).toEqual([packet, frame(60)]);
        expect([w.accepted, tx.reclaim(), w.stack.free.size]).toEqual([2, 2, 64]);
        const extra = more.length;
        expect(w.counters).toMatchObject({ packets: 2, bytes: packet.length + 60, extra_frames: extra, joined: extra });
      }),
      { numRuns: 60 },
    );
  });

  test('waits, whole, until the ring has room for it', () => {
    const w = txWorld({ words: 1024 });
    const tx = makeTxQueue(w.plan, w.context);
    expect(tx.transmit(w.burstOf([frame(1500)]), 0, 1)).toBe(1);
    const burst = cut(w, frame(3000), [1500, 1500]);
    expect(tx.transmit(burst, 0, 2)).toBe(0);
    w.takeBlocks();
    expect(tx.transmit(burst, 0, 2)).toBe(2);
  });

  test.each([
    ['that is too long', [2000, 2000, 2000, 2000, 1019], 'oversize'],
    ['without a header in its first', [13, 100], 'runt'],
  ])('%s is thrown out whole', (_, lengths, reason) => {
    const w = txWorld();
    const tx = makeTxQueue(w.plan, w.context);
    const burst = cut(w, frame(lengths.reduce((sum, n) => sum + n, 0)), lengths);
    expect(tx.transmit(burst, 0, burst.size)).toBe(burst.size);
    expect([w.accepted, w.stack.free.size]).toEqual([0, 64]);
    expect(w.counters).toMatchObject({ packets: 1, joined: 0, [reason]: lengths.length });
  });

  test('is thrown out whole where packets fit a frame, and counted whole without a file', () => {
    const w = txWorld({ maxLength: 1518 });
    expect(makeTxQueue(w.plan, w.context).transmit(cut(w, frame(200), [100, 100]), 0, 2)).toBe(2);
    expect([w.accepted, w.counters.oversize]).toEqual([0, 2]);
    const none = txWorld();
    const tx = makeTxQueue({ ...none.plan, data: { ring: 0, words: 0 } }, none.context);
    expect(tx.transmit(cut(none, frame(200), [100, 100]), 0, 2)).toBe(2);
    expect(none.counters).toMatchObject({ packets: 1, extra_frames: 1, no_output: 2 });
  });
});

describe('A replayed packet that does not fit a frame', () => {
  const lengthsOf = (burst: { lengths: Int32Array; count: number }) => [...burst.lengths.subarray(0, burst.count)];

  test('comes in several, with all its bytes', () => {
    const w = rxWorld();
    const rx = makeRxQueue(w.plan, w.context);
    expect(rx.segments).toBe(true);
    const packet = frame(5001, 3);
    for (const data of [frame(60, 1), packet, frame(2048, 2)]) w.putRecord(data);
    const burst = w.burst(8);
    expect(rx.receive(burst)).toBe(5);
    expect(lengthsOf(burst)).toEqual([60, MORE + 2048, MORE + 2048, 905, 2048]);
    for (let i = 0; i < burst.count; i++) burst.lengths[i]! &= ~MORE;
    const parts = w.consume(burst);
    expect(Buffer.concat(parts.slice(1, 4)).equals(packet)).toBe(true);
    expect(w.counters).toEqual({ packets: 3, bytes: 60 + 5001 + 2048, extra_frames: 2, runt: 0, oversize: 0 });
  });

  test('waits for a burst with room, and for free frames; one that no burst can take is counted', () => {
    const w = rxWorld({ frames: 3 });
    const rx = makeRxQueue(w.plan, w.context);
    for (const data of [frame(60), frame(60), frame(5000), frame(9000), frame(61)]) w.putRecord(data);
    const burst = w.burst(3);
    expect([rx.receive(burst), lengthsOf(burst)]).toEqual([2, [60, 60]]);
    const more = w.burst(3);
    expect([rx.receive(more), w.stack.free.size]).toEqual([0, 1]);
    w.consume(burst);
    expect([rx.receive(burst), w.stack.free.size]).toEqual([3, 0]);
    for (let i = 0; i < burst.count; i++) burst.lengths[i]! &= ~MORE;
    w.consume(burst);
    expect([rx.receive(burst), lengthsOf(burst)]).toEqual([1, [61]]);
    expect(w.counters).toMatchObject({ packets: 4, extra_frames: 2, oversize: 1 });
  });
});
