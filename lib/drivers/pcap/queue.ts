/** The `pcap` driver's queue module: its two kinds of queue, and their warm-up. Data half. */
import { MORE, type QueueContext } from '../../queue.ts';
import { CONTROL, CONTROL_WORDS, RECORD, recordWords, ringBytes } from './layout.ts';
import { makeRxQueue } from './rx-queue.ts';
import { makeTxQueue } from './tx-queue.ts';

export { makeRxQueue, makeTxQueue };

const WARM_UP_ROUNDS = 1000;
const WARM_UP_WORDS = 2048;
/**
 * A runt, frames that wrap at different places, one that is too long, one that came without its bytes; and, where frames
 * have room for less, packets of several.
 */
const WARM_UP_LENGTHS = [60, 13, 62, 1514, 61, 4001, 64, 63, 5000, 4000];
const MAX_LENGTH = 4000;
/** Of a burst's first packet: too short, too long, the first of two segments. */
const WARM_UP_FIRST = [13, 65_535, MORE + 61];

/** Does what the reader of a file does: puts records into the ring, as far as they fit. */
function feed(words: Int32Array, round: number, timed: number): void {
  for (let i = 0; i < 40; i++) {
    const length = WARM_UP_LENGTHS[(round + i) % WARM_UP_LENGTHS.length];
    const stored = length > MAX_LENGTH ? 0 : length;
    const used = recordWords(stored);
    const head = words[CONTROL.producer];
    if (((head - words[CONTROL.consumer] + used) | 0) > WARM_UP_WORDS) return;
    const at = CONTROL_WORDS + (head & (WARM_UP_WORDS - 1));
    words[at + RECORD.stored] = stored;
    words[at + RECORD.length] = length;
    words[at + RECORD.dueLo] = 0;
    // Some are due in the past, the last of a round far in the future.
    words[at + RECORD.dueHi] = timed === 1 && i > 30 && round % 8 === 0 ? 0x7fff : 0;
    words[CONTROL.producer] = (head + used) | 0;
  }
}

/** Drives both queues over scratch rings: empty, partial, full, wrapping, not due, without frames, failed, quiesced. */
export function warmUp(context: QueueContext): void {
  const { memory, stack } = context;
  const base = { module: '', port: 'warm-up', queue: 0, counterNames: [], fd: -1, maxLength: MAX_LENGTH };
  const counters = context.scratch(256);
  const [rxRing, txRing] = [context.scratch(ringBytes(WARM_UP_WORDS)), context.scratch(ringBytes(WARM_UP_WORDS))];
  const [records, blocks] = [rxRing, txRing].map((ring) => new Int32Array(memory, ring, CONTROL_WORDS + WARM_UP_WORDS));
  const data = { words: WARM_UP_WORDS, ring: txRing, timed: 0 };
  const tx = makeTxQueue({ ...base, counters, direction: 'tx', data }, context);
  const size = 32;
  const burst = { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
  for (const timed of [0, 1]) {
    const plan = { ...base, counters, direction: 'rx' as const, data: { ...data, ring: rxRing, timed } };
    const rx = makeRxQueue(plan, context);
    for (let round = 0; round < WARM_UP_ROUNDS; round++) {
      if (round % 4 !== 3) feed(records, round, timed);
      const n = rx.receive(burst);
      rx.arm();
      if (n > 0 && round % 16 === 0) burst.lengths[0] = WARM_UP_FIRST[(round >>> 4) % WARM_UP_FIRST.length];
      blocks[CONTROL.failed] = round % 64 === 63 ? 1 : 0;
      const sent = tx.transmit(burst, 0, n);
      stack.give(burst.offsets, sent, n);
      tx.reclaim();
      if (round % 4 === 0) blocks[CONTROL.consumer] = blocks[CONTROL.producer];
      // What is due in the year 6000 would stay for ever.
      if (round % 8 === 7) records[CONTROL.start] = records[CONTROL.start + 1] = 0;
      if (timed === 1 && round % 8 === 7) forget(records);
    }
    rx.quiesce();
    rx.receive(burst);
    records.fill(0);
  }
}

/** Makes all records in the ring due. */
function forget(words: Int32Array): void {
  for (let at = CONTROL_WORDS; at < words.length; at += 4) words[at + RECORD.dueHi] = 0;
}
