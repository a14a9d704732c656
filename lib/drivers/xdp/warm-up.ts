/** Warm-up of the `xdp` driver's queues: plays the kernel's side of four scratch rings. Not on the fast path. */
import type { Burst, QueueContext, QueuePlan, RxQueue, TxQueue } from '../../queue.ts';
import { FRAME, placeData, type RingPlace } from './places.ts';
import { KICK } from './regs.ts';

const RING = 64;
const ROUNDS = 600;
/** What a kick may answer. */
const ANSWERS = [KICK.ok, KICK.ok, KICK.busy, KICK.again, KICK.netDown];

type MakeRx = (plan: QueuePlan, context: QueueContext) => RxQueue;
type MakeTx = (plan: QueuePlan, context: QueueContext) => TxQueue;

function scratchRing(context: QueueContext, words: number): RingPlace {
  const at = context.scratch(192 + RING * words * 4);
  return { producer: at, consumer: at + 64, flags: at + 128, first: at + 192, size: RING };
}

/** Moves descriptors as the kernel would: fill → rx, tx → completion. */
function playKernel(
  words: Int32Array,
  from: RingPlace,
  to: RingPlace,
  sizes: readonly [number, number],
  length: number,
): void {
  const [producer, consumer] = [from.producer >>> 2, from.consumer >>> 2];
  while (words[consumer] !== words[producer] && words[to.producer >>> 2] - words[to.consumer >>> 2] < RING) {
    const d = (to.first >>> 2) + (words[to.producer >>> 2] & (RING - 1)) * sizes[1];
    words[d] = words[(from.first >>> 2) + (words[consumer] & (RING - 1)) * sizes[0]];
    words[d + 1] = 0;
    if (sizes[1] === 4) words[d + 2] = length;
    words[consumer]++;
    words[to.producer >>> 2]++;
  }
}

/** Receives, sends, and is refused, until V8 has seen every branch. */
export function warmUpWith(scratch: QueueContext, makeRx: MakeRx, makeTx: MakeTx): void {
  let answer = 0;
  const context: QueueContext = { ...scratch, kickTx: () => ANSWERS[answer++ % ANSWERS.length] };
  const { memory, stack } = context;
  const words = new Int32Array(memory);
  const [rx, fill, tx, completion] = [4, 2, 4, 2].map((size) => scratchRing(context, size));
  const { base, count, frameSize } = context.pool;
  const common = { base, umemBytes: count * frameSize, frameShift: Math.log2(frameSize), frames: count, busyPoll: 0 };
  const plan = { module: '', port: 'warm-up', queue: 0, counterNames: [], fd: 0, maxLength: 1518 };
  const make = (direction: 'rx' | 'tx', data: Record<string, number>): QueuePlan => ({
    ...plan,
    direction,
    counters: context.scratch(256),
    data: { ...common, map: context.scratch(count), ...data },
  });
  const plans = {
    rx: make('rx', { ...placeData('rx', rx), ...placeData('fill', fill) }),
    tx: make('tx', { ...placeData('tx', tx), ...placeData('completion', completion) }),
  };

  const rxQueue = makeRx(plans.rx, context);
  const txQueue = makeTx(plans.tx, context);
  words[tx.flags >>> 2] = 1;
  const burst: Burst = { size: 32, offsets: new Int32Array(32), lengths: new Int32Array(32), count: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    playKernel(words, fill, rx, [2, 4], round % 16 === 0 ? 13 : round % 16 === 1 ? 4000 : 60);
    rxQueue.arm();
    rxQueue.disarm();
    while (rxQueue.receive(burst) > 0) {
      if (round % 8 === 0) burst.lengths[0] = round % 16 === 0 ? 13 : 1600;
      const sent = txQueue.transmit(burst, 0, burst.count);
      stack.give(burst.offsets, sent, burst.count);
      txQueue.kick();
    }
    if (round % 4 !== 0) playKernel(words, tx, completion, [4, 2], 0);
    txQueue.reclaim();
  }
  for (const { data } of [plans.rx, plans.tx]) {
    const held = new Uint8Array(memory, data.map, count);
    for (let i = 0; i < count; i++) if (held[i] !== FRAME.none) stack.push(base + i * frameSize);
  }
}
