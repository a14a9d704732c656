/** Warm-up of the `xdp` driver's queues: plays the kernel's side of four scratch rings. Not on the fast path. */
import { type Burst, MORE, type QueueContext, type QueuePlan, type RxQueue, type TxQueue } from '../../queue.ts';
import { FRAME, placeData, type RingPlace } from './places.ts';
import { KICK, XDP_MAX_SEGMENTS, XDP_PKT_CONTD } from './regs.ts';

const RING = 64;
const ROUNDS = 800;
/**
 * So many rounds at the start have all that is rare, in short turns: what V8 compiles is made of what it had seen when it
 * began to, and with little time on a busy machine that code comes when packets flow already.
 */
const DENSE = 160;
/** Rounds until other queues take over: each branch is met by several. */
const TAKEOVER = 50;
/** Lengths that arrive now and then, among good ones: too short, longer than a frame. */
const ARRIVING = [13, 9000];
/** Lengths that a burst begins with: too short, longer than a frame, of a packet that goes on, or has no first segment. */
const LEAVING = [13, 9000, MORE + 60, MORE];
/** What a kick may answer. */
const ANSWERS = [KICK.ok, KICK.ok, KICK.busy, KICK.again, KICK.netDown, KICK.noDevice];

/**
 * Packets whose checksums were left to hardware, and others, as [offset, value] pairs of 16 bits: their addresses are all
 * zero, so that the sum of the pseudo-header is protocol and length.
 */
const PACKETS: readonly (readonly (readonly [at: number, value: number])[])[] = [
  ipv4(14, 6, 40, 16),
  ipv4(14, 17, 40, 6),
  [[12, 0x8100], ...ipv4(18, 17, 40, 6)],
  ipv6(6, 16),
  ipv6(17, 6),
  [...ipv4(14, 17, 40, 6), [40, 0x1234]],
  ipv4(14, 1, 40, 2),
  [[12, 0x0806]],
  // In three frames, an odd number of bytes in each: 273 bytes.
  ipv4(14, 6, 239, 16),
];
/** Bytes of a frame that arrives. */
const LENGTH = 91;

function ipv4(l3: number, protocol: number, length: number, field: number): (readonly [number, number])[] {
  const sum = protocol + length;
  return [
    [l3 - 2, 0x0800],
    [l3, 0x4500],
    [l3 + 2, 20 + length],
    [l3 + 8, protocol],
    [l3 + 20 + field, sum],
  ];
}

function ipv6(protocol: number, field: number): (readonly [number, number])[] {
  return [
    [12, 0x86dd],
    [14, 0x6000],
    [18, 32],
    [20, protocol << 8],
    [54 + field, protocol + 32],
  ];
}

function writePacket(view: DataView, at: number, kind: number): void {
  for (let i = 12; i < 90; i += 2) view.setUint16(at + i, 0);
  for (const [offset, value] of PACKETS[kind]) view.setUint16(at + offset, value);
}

type MakeRx = (plan: QueuePlan, context: QueueContext) => RxQueue;
type MakeTx = (plan: QueuePlan, context: QueueContext) => TxQueue;

function scratchRing(context: QueueContext, words: number): RingPlace {
  const at = context.scratch(192 + RING * words * 4);
  return { producer: at, consumer: at + 64, flags: at + 128, first: at + 192, size: RING };
}

/**
 * Moves up to `most` descriptors as the kernel would: fill → rx, tx → completion. Each `goesOn`th descriptor ends a packet, those
 * before it go on; what is left unfinished is finished with the next call.
 */
function playKernel(
  words: Int32Array,
  from: RingPlace,
  to: RingPlace,
  sizes: readonly [number, number],
  { length, goesOn, most }: { length: number; goesOn: number; most: number },
): void {
  const [producer, consumer] = [from.producer >>> 2, from.consumer >>> 2];
  const stop = words[consumer] + most;
  while (
    words[consumer] !== words[producer] &&
    words[consumer] !== stop &&
    words[to.producer >>> 2] - words[to.consumer >>> 2] < RING
  ) {
    const d = (to.first >>> 2) + (words[to.producer >>> 2] & (RING - 1)) * sizes[1];
    words[d] = words[(from.first >>> 2) + (words[consumer] & (RING - 1)) * sizes[0]];
    words[d + 1] = 0;
    if (sizes[1] === 4) {
      words[d + 2] = length;
      words[d + 3] = words[consumer] % goesOn === 0 ? 0 : XDP_PKT_CONTD;
    }
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
  const bytes = new DataView(memory);
  const [rx, fill, tx, completion] = [4, 2, 4, 2].map((size) => scratchRing(context, size));
  const { base, count, frameSize } = context.pool;
  const common = { base, umemBytes: count * frameSize, frameShift: Math.log2(frameSize), frames: count };
  const flags = { busyPoll: 0, fillChecksums: 1, socket: 0, most: RING };
  const plan = { module: '', port: 'warm-up', queue: 0, counterNames: [], fd: 0, maxLength: 8000 };
  const make = (direction: 'rx' | 'tx', data: Record<string, number>): QueuePlan => ({
    ...plan,
    direction,
    counters: context.scratch(256),
    data: { ...common, segments: XDP_MAX_SEGMENTS, map: context.scratch(count), ...data },
  });
  const plans = {
    rx: make('rx', { ...placeData('rx', rx), ...placeData('fill', fill), ...flags }),
    tx: make('tx', {
      ...placeData('tx', tx),
      ...placeData('completion', completion),
      budget: 48,
      refusal: context.scratch(4),
    }),
  };

  /** As if the kernel had dropped what came: nothing has arrived, and it has few frames left. They are free again. */
  const takeFrames = () => {
    const [producer, consumer, first] = [fill.producer >>> 2, fill.consumer >>> 2, fill.first >>> 2];
    const posted = new Uint8Array(memory, plans.rx.data.map, count);
    for (; words[producer] - words[consumer] >= RING / 2; words[consumer]++) {
      const address = words[first + (words[consumer] & (RING - 1)) * 2];
      posted[address / frameSize] = FRAME.none;
      stack.push(base + address);
    }
  };

  let rxQueue = makeRx(plans.rx, context);
  let txQueue = makeTx(plans.tx, context);
  words[tx.flags >>> 2] = 1;
  const burst: Burst = { size: 32, offsets: new Int32Array(32), lengths: new Int32Array(32), count: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    // Others take over: V8 must not take the functions of one queue for the only ones.
    if (round % TAKEOVER === TAKEOVER - 1) [rxQueue, txQueue] = [makeRx(plans.rx, context), makeTx(plans.tx, context)];
    const dense = round < DENSE;
    // Packets of one, of three, and now and then of more segments than may be, or than a burst has.
    const goesOn = round % (dense ? 2 : 8) === 1 ? 3 : round % (dense ? 8 : 64) === 6 ? 40 : 1;
    playKernel(words, fill, rx, [2, 4], {
      length: ARRIVING[round % (dense ? 7 : 16)] ?? LENGTH,
      goesOn,
      most: round % 2 === 0 ? RING : burst.size,
    });
    rxQueue.arm();
    rxQueue.disarm();
    while (rxQueue.receive(burst) > 0) {
      for (let i = 0; i < burst.count; i++)
        writePacket(bytes, burst.offsets[i], (dense && i % 2 === 0 ? PACKETS.length - 1 : round + i) % PACKETS.length);
      if (round % 8 === 0) burst.lengths[0] = LEAVING[(round >>> 3) % LEAVING.length];
      const sent = txQueue.transmit(burst, 0, burst.count);
      stack.give(burst.offsets, sent, burst.count);
      txQueue.kick();
    }
    if (round % 128 === 20) {
      takeFrames();
      rxQueue.receive(burst);
      stack.give(burst.offsets, 0, burst.count);
    }
    if (round % 4 !== 0) playKernel(words, tx, completion, [4, 2], { length: 0, goesOn: 1, most: RING });
    txQueue.reclaim();
  }
  for (const { data } of [plans.rx, plans.tx]) {
    const held = new Uint8Array(memory, data.map, count);
    for (let i = 0; i < count; i++) if (held[i] !== FRAME.none) stack.push(base + i * frameSize);
  }
}
