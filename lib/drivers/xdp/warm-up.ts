/** Warm-up of the `xdp` driver's queues: plays the kernel's side of four scratch rings. Not on the fast path. */
import type { Burst, QueueContext, QueuePlan, RxQueue, TxQueue } from '../../queue.ts';
import { placeData, type RingPlace } from './places.ts';

const RING = 64;
const FRAMES = 64;
const SHIFT = 11;
const ROUNDS = 600;

type MakeRx = (plan: QueuePlan, context: QueueContext) => RxQueue;
type MakeTx = (plan: QueuePlan, context: QueueContext) => TxQueue;

function scratchRing(context: QueueContext, words: number): RingPlace {
  const at = context.scratch(192 + RING * words * 4);
  return { producer: at, consumer: at + 64, flags: at + 128, first: at + 192, size: RING };
}

/** Moves descriptors as the kernel would: fill → rx, tx → completion. */
function playKernel(words: Int32Array, from: RingPlace, to: RingPlace, fromWords: number, toWords: number, length: number): void {
  const [producer, consumer] = [from.producer >>> 2, from.consumer >>> 2];
  while (words[consumer] !== words[producer] && words[to.producer >>> 2] - words[to.consumer >>> 2] < RING) {
    const d = (to.first >>> 2) + (words[to.producer >>> 2] & (RING - 1)) * toWords;
    words[d] = words[(from.first >>> 2) + (words[consumer] & (RING - 1)) * fromWords];
    words[d + 1] = 0;
    if (toWords === 4) words[d + 2] = length;
    words[consumer]++;
    words[to.producer >>> 2]++;
  }
}

/** Receives, sends, and is refused, until V8 has seen every branch. */
export function warmUpWith(context: QueueContext, makeRx: MakeRx, makeTx: MakeTx): void {
  const { memory, stack } = context;
  const words = new Int32Array(memory);
  const first = stack.pop();
  stack.push(first);
  const base = first & ~((1 << SHIFT) - 1);
  const rings = { rx: scratchRing(context, 4), fill: scratchRing(context, 2), tx: scratchRing(context, 4), completion: scratchRing(context, 2) };
  const common = { base, umemBytes: FRAMES << SHIFT, frameShift: SHIFT, frames: FRAMES, busyPoll: 0 };
  const plan = { module: '', port: 'warm-up', queue: 0, counterNames: [], fd: 0, maxLength: 1518 };
  const make = (direction: 'rx' | 'tx', data: Record<string, number>): QueuePlan => ({
    ...plan,
    direction,
    counters: context.scratch(256),
    data: { ...common, map: context.scratch(FRAMES), ...data },
  });
  const rx = makeRx(make('rx', { ...placeData('rx', rings.rx), ...placeData('fill', rings.fill) }), context);
  const tx = makeTx(make('tx', { ...placeData('tx', rings.tx), ...placeData('completion', rings.completion) }), context);
  words[rings.tx.flags >>> 2] = 1;
  const burst: Burst = { size: 32, offsets: new Int32Array(32), lengths: new Int32Array(32), count: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    playKernel(words, rings.fill, rings.rx, 2, 4, round % 16 === 0 ? 13 : round % 16 === 1 ? 4000 : 60);
    rx.arm();
    rx.disarm();
    while (rx.receive(burst) > 0) {
      if (round % 8 === 0) burst.lengths[0] = round % 16 === 0 ? 13 : 1600;
      const sent = tx.transmit(burst, 0, burst.count);
      stack.give(burst.offsets, sent, burst.count);
      tx.kick();
    }
    if (round % 4 !== 0) playKernel(words, rings.tx, rings.completion, 4, 2, 0);
    tx.reclaim();
  }
}
