/** A worker's blocks in the arena: control, frame stack, scratch, one block per job. Control half. */
import type { Arena } from '../arena/arena.ts';
import { makeCounters, readCounters } from '../arena/counters.ts';
import { DEPOT, stackBytes } from '../arena/frames-plan.ts';
import { CONTROL, CONTROL_BYTES, JOB, JOB_BYTES, JOB_COUNTERS, LEDGER, WORKER_COUNTERS } from '../../workers/control.ts';
import { SCRATCH_BYTES } from '../../workers/warm-up.ts';
import type { DROP } from '../queue.ts';
import type { Counters } from '../pktio/types.ts';
import { heldBy } from './ledger.ts';

/** One worker's blocks. */
export class WorkerMemory {
  readonly control: number;
  readonly stack: number;
  readonly scratch: { readonly offset: number; readonly bytes: number };
  readonly blocks: readonly number[];
  readonly words: Int32Array;
  private readonly arena: Arena;
  private readonly stackWords: Int32Array;
  private readonly offsets: number[] = [];

  constructor(arena: Arena, frames: number, jobs: number) {
    this.arena = arena;
    const allocate = (bytes: number): number => {
      try {
        const offset = arena.allocate(bytes);
        this.offsets.push(offset);
        return offset;
      } catch (error) {
        this.free();
        throw error;
      }
    };
    this.control = allocate(CONTROL_BYTES);
    this.stack = allocate(stackBytes(frames));
    this.scratch = { offset: allocate(SCRATCH_BYTES), bytes: SCRATCH_BYTES };
    this.blocks = Array.from({ length: jobs }, () => allocate(JOB_BYTES));
    this.words = new Int32Array(arena.memory, this.control, CONTROL.clock);
    this.stackWords = new Int32Array(arena.memory, this.stack, DEPOT.first + frames);
  }

  /** Frames on the worker's stack. Exact while it stands still. */
  get stacked(): number {
    return Atomics.load(this.stackWords, DEPOT.top);
  }

  /** Offsets of those frames. */
  stackedFrames(): Int32Array {
    return this.stackWords.subarray(DEPOT.first, DEPOT.first + this.stacked);
  }

  /** Forgets them: the pool takes them all back. */
  emptyStack(): void {
    Atomics.store(this.stackWords, DEPOT.top, 0);
  }

  /** The worker's own counters. */
  counters(): Counters {
    return readCounters(this.arena.memory, this.control + CONTROL.counters * 4, WORKER_COUNTERS);
  }

  /** Job `index`'s ledger. */
  jobLedger(index: number): Counters {
    return readCounters(this.arena.memory, this.blocks[index] + JOB.counters * 4, JOB_COUNTERS);
  }

  /** The counters that job `index`'s application made, by their names. */
  appCounters(index: number, names: readonly string[]): Counters {
    const all = readCounters(this.arena.memory, this.blocks[index] + JOB.counters * 4, [...JOB_COUNTERS, ...names]);
    return Object.fromEntries(names.map((name) => [name, all[name]]));
  }

  /** True when job `index`'s application has said that it is finished. */
  finished(index: number): boolean {
    return Atomics.load(new Int32Array(this.arena.memory, this.blocks[index], 1), JOB.finished) === 1;
  }

  /**
   * Counts what job `index` still holds as dropped for `reason`, and returns how much that was. Only when the job's
   * worker does not run it any more: until then the worker is the counters' one writer.
   */
  writeOff(index: number, reason: (typeof DROP)[keyof typeof DROP]): number {
    const held = Number(heldBy(this.jobLedger(index)));
    if (held > 0) makeCounters(this.arena.memory, this.blocks[index] + JOB.counters * 4)(LEDGER.dropped + reason, held);
    return held;
  }

  free(): void {
    for (const offset of this.offsets.splice(0)) this.arena.free(offset);
  }
}
