/** The small pieces: ring operations and the frame pool, by tinybench. Runs in a process of its own. */
import { Bench, type Task } from 'tinybench';
import { Arena } from '../lib/arena/arena.ts';
import { makeCounters } from '../lib/arena/counters.ts';
import { FramePool } from '../lib/arena/frame-pool.ts';
import { makeFrameStack } from '../lib/arena/frame-stack.ts';
import { stackBytes } from '../lib/arena/frames-plan.ts';
import { makeRingConsumer, makeRingProducer, ringBytes } from '../lib/arena/ring.ts';
import { makeRxQueue, makeTxQueue } from '../lib/drivers/vhost/queue.ts';
import type { Burst, FrameStack } from '../lib/queue.ts';
import { loadNative } from '../native/index.ts';
import type { PieceReport } from './report.ts';
import { summarize } from './stats.ts';
import { makeBenchGuest } from './vhost-guest.ts';

/** Frames that a measured call handles: enough that reading the clock costs nothing beside it. */
const FRAMES_PER_CALL = 8192;
const RING_SIZE = 512;

/** Where pieces live: an arena with one worker's stack of frames. */
export interface PieceRoom {
  readonly arena: Arena;
  readonly pool: FramePool;
  readonly stack: FrameStack;
}

/** A piece: what to time. */
export interface Piece {
  readonly subject: 'ring' | 'frames' | 'vhost';
  readonly name: string;
  /** Makes the function that handles one burst. */
  make(room: PieceRoom, burst: Burst): () => void;
  readonly burst: number;
}

function ringPiece({ arena }: PieceRoom, burst: Burst): () => void {
  const at = arena.allocate(ringBytes(RING_SIZE));
  const producer = makeRingProducer(arena.memory, at, RING_SIZE);
  const consumer = makeRingConsumer(arena.memory, at, RING_SIZE);
  const { offsets, lengths, size } = burst;
  return () => {
    producer.room(size);
    for (let i = 0; i < size; i++) producer.put(offsets[i], lengths[i]);
    producer.publish();
    consumer.take(burst);
  };
}

function takeGive({ stack }: PieceRoom, { offsets, size }: Burst): () => void {
  return () => {
    const n = stack.take(offsets, 0, size);
    stack.give(offsets, 0, n);
  };
}

function popPush({ stack }: PieceRoom, { offsets, size }: Burst): () => void {
  return () => {
    for (let i = 0; i < size; i++) offsets[i] = stack.pop();
    for (let i = 0; i < size; i++) stack.push(offsets[i]);
  };
}

/** One worker takes from the depot what another gives back to it: the way of frames between workers. */
function throughDepot({ arena, pool, stack }: PieceRoom, { offsets, size }: Burst): () => void {
  const other = makeFrameStack(arena.memory, pool.plan, arena.allocate(stackBytes(pool.plan.count)), 1);
  return () => {
    const n = stack.take(offsets, 0, size);
    other.give(offsets, 0, n);
  };
}

function countBursts({ arena }: PieceRoom, { size }: Burst): () => void {
  const count = makeCounters(arena.memory, arena.allocate(256));
  return () => {
    for (let i = 0; i < size; i++) count(0, 1);
  };
}

/** A `vhost` queue takes what a guest transmits, or fills what it receives into. */
function vhostPiece(direction: 'rx' | 'tx', packed: boolean, length: number): Piece['make'] {
  return (room, burst) => {
    const { plan, context, offer } = makeBenchGuest(room, direction, packed, length);
    const { stack } = room;
    if (direction === 'rx') {
      const rx = makeRxQueue(plan, context);
      return () => {
        offer(burst.size);
        if (rx.receive(burst) !== burst.size) throw new Error('the queue lost a packet');
        stack.give(burst.offsets, 0, burst.count);
      };
    }
    const tx = makeTxQueue(plan, context);
    return () => {
      offer(burst.size);
      burst.lengths.fill(length);
      stack.take(burst.offsets, 0, burst.size);
      if (tx.transmit(burst, 0, burst.size) !== burst.size) throw new Error('the queue was full');
      tx.kick();
    };
  };
}

const VHOST_PIECES = [false, true].flatMap((packed) =>
  (['rx', 'tx'] as const).flatMap((direction) =>
    [60, 64, 1518].map(
      (length): Piece => ({
        subject: 'vhost',
        name: `vhost ${packed ? 'packed' : 'split'} ${direction}, ${length} bytes, burst 32`,
        make: vhostPiece(direction, packed, length),
        burst: 32,
      }),
    ),
  ),
);

/** The pieces. */
export const PIECES: readonly Piece[] = [
  ...[1, 8, 32, 256].map(
    (burst): Piece => ({ subject: 'ring', name: `ring, put and take, burst ${burst}`, make: ringPiece, burst }),
  ),
  ...[1, 8, 32, 256].map(
    (burst): Piece => ({
      subject: 'frames',
      name: `frame stack, take and give, burst ${burst}`,
      make: takeGive,
      burst,
    }),
  ),
  { subject: 'frames', name: 'frame stack, pop and push', make: popPush, burst: 32 },
  { subject: 'frames', name: 'frame stacks of two workers, through the depot', make: throughDepot, burst: 32 },
  { subject: 'frames', name: 'counter, add', make: countBursts, burst: 32 },
  ...VHOST_PIECES,
];

/** Returns `once`, called until it has handled `FRAMES_PER_CALL` frames. */
function repeat(once: () => void, burst: number): () => void {
  const times = FRAMES_PER_CALL / burst;
  return () => {
    for (let i = 0; i < times; i++) once();
  };
}

function toReport(piece: Piece, task: Task): PieceReport {
  const result = task.result;
  if (result.state === 'errored') throw result.error;
  if (result.state !== 'completed') throw new Error(`${piece.name}: tinybench left it ${result.state}`);
  const ns = (result.latency.samples ?? []).map((ms) => (ms * 1e6) / FRAMES_PER_CALL);
  return { subject: piece.subject, name: piece.name, ns: summarize(ns) };
}

/** Times the pieces of `subjects` for `timeMs` each. */
export async function runPieces(subjects: readonly string[], timeMs: number): Promise<PieceReport[]> {
  const arena = new Arena(loadNative());
  try {
    const pool = new FramePool(arena, { frames: 4096 });
    const room: PieceRoom = {
      arena,
      pool,
      stack: makeFrameStack(arena.memory, pool.plan, arena.allocate(stackBytes(pool.plan.count)), 0),
    };
    const bench = new Bench({ time: timeMs, warmupTime: Math.min(timeMs, 100), retainSamples: true });
    const chosen = PIECES.filter((p) => subjects.includes(p.subject));
    for (const piece of chosen) {
      const { burst: size } = piece;
      const burst = { size, offsets: new Int32Array(size), lengths: new Int32Array(size).fill(60), count: 0 };
      bench.add(piece.name, repeat(piece.make(room, burst), size));
    }
    await bench.run();
    return chosen.map((piece) => toReport(piece, bench.getTask(piece.name)!));
  } finally {
    arena.close();
  }
}
