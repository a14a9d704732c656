/** A worker's blocks in the arena: control, frame stack, scratch, one block per job. Control half. */

import {
  COMMAND,
  CONTROL,
  CONTROL_BYTES,
  JOB,
  JOB_BYTES,
  JOB_COUNTERS,
  STATE,
  WORKER_COUNTERS,
} from '../../workers/control.ts';
import { writeOff } from '../../workers/ledger.ts';
import { scratchBytes } from '../../workers/warm-up.ts';
import type { Arena } from '../arena/arena.ts';
import { readCounters } from '../arena/counters.ts';
import { DEPOT, stackBytes } from '../arena/frames-plan.ts';
import type { Counters } from '../pktio/types.ts';
import { DROP } from '../queue.ts';

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
    this.scratch = { offset: allocate(scratchBytes(frames)), bytes: scratchBytes(frames) };
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

  /** Changes whenever job `index` gets or gives a frame. */
  moves(index: number): bigint {
    return Object.values(this.jobLedger(index)).reduce((a, b) => a + b, 0n);
  }

  /** Counts what job `index` still holds as stopped. Only when the worker's thread has left. */
  writeOff(index: number): void {
    writeOff(this.arena.memory, this.blocks[index], DROP.stopped);
  }

  /** As it is before the worker's thread starts, again or for the first time. Counters and stack are kept. */
  reset(): void {
    const { words } = this;
    Atomics.store(words, CONTROL.command, COMMAND.prepare);
    Atomics.store(words, CONTROL.acknowledged, COMMAND.prepare);
    Atomics.store(words, CONTROL.state, STATE.starting);
    Atomics.store(words, CONTROL.tid, 0);
    Atomics.store(words, CONTROL.posted, 0);
    Atomics.store(words, CONTROL.read, 0);
  }

  free(): void {
    for (const offset of this.offsets.splice(0)) this.arena.free(offset);
  }
}
