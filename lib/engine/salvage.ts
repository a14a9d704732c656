/**
 * Finding the frames of the dead: an application that threw, hung or was replaced has left frames behind that nobody
 * can name. They are those that are nowhere: in no stack and no ring, and not held by an application that lives.
 * What the living hold cannot be seen either, but it changes: what is nowhere at one moment and at the next, and the
 * next, comes to be what is lost, and its number is known from the ledger. Control half.
 */
import { heldBy } from '../../workers/ledger.ts';
import type { Pktio } from '../pktio/types.ts';
import { DROP } from '../queue.ts';
import type { Crew, Means } from './crew.ts';
import { countTorn } from './death.ts';
import { nowhere, put } from './depot.ts';
import type { RunPorts } from './run-ports.ts';
import type { Standstill } from './standstill.ts';
import type { Worker } from './worker.ts';

/** Wait before the first look, in milliseconds; doubles up to the last while some are missing. */
const FIRST_MS = 10;
const LAST_MS = 1000;

/** What the engine has written off, by the names of `JOB_COUNTERS`. */
const WRITTEN_OFF = [`dropped_${nameOf(DROP.app_died)}`, `dropped_${nameOf(DROP.stopped)}`];

function nameOf(reason: number): string {
  return Object.keys(DROP)[reason];
}

/** Frames that a port had in its rings when those went: its device may still use them. */
interface Leftover {
  readonly port: Pktio | undefined;
  readonly offsets: readonly number[];
}

const stillUses = ({ port }: Leftover): boolean => port?.state === 'started' || port?.state === 'stopping';

/** Brings lost frames of one run back to the pool. */
export class Salvage {
  private readonly means: Means;
  private readonly crew: () => Crew;
  private readonly ports: RunPorts;
  private readonly standstill: Standstill;
  /** Frames brought back so far. */
  private recovered = 0;
  /** Offsets that were nowhere at each look since `missing` last changed; the lost ones are among them. */
  private candidates: Int32Array | undefined;
  private expected = 0;
  private leftovers: Leftover[] = [];
  private readonly held = new Set<readonly number[]>();
  /** The last worker that died since a look: what is in no counter is its doing. */
  private dead: Worker | undefined;
  private timer: NodeJS.Timeout | undefined;
  private waitMs = FIRST_MS;
  private stopped = false;

  constructor(means: Means, crew: () => Crew, ports: RunPorts, standstill: Standstill) {
    this.means = means;
    this.crew = crew;
    this.ports = ports;
    this.standstill = standstill;
  }

  /** Frames whose holder is no more, and which have not been brought back. */
  get missing(): number {
    const ledgers = this.crew().jobs.map(({ worker, index }) => worker.memory.jobLedger(index));
    const writtenOff = ledgers.reduce((sum, ledger) => sum + WRITTEN_OFF.reduce((n, name) => n + ledger[name], 0n), 0n);
    return Number(writtenOff) - this.recovered;
  }

  /** Some frames may have been left behind; `dead` says by which worker, if its thread ended. */
  look(dead?: Worker): void {
    this.dead = dead ?? this.dead;
    this.waitMs = FIRST_MS;
    clearTimeout(this.timer);
    this.later();
  }

  /**
   * Looks now, if there is anything to look for. To be awaited before an application is started that may take frames and
   * keep them: what it takes after the first look is not taken for lost.
   */
  async lookNow(): Promise<void> {
    if (this.missing === this.expected && this.dead === undefined) return;
    clearTimeout(this.timer);
    await this.try();
  }

  /** `offsets` are somebody's, though they may be in no ring, until the returned function is called. */
  hold(offsets: readonly number[]): () => void {
    this.held.add(offsets);
    return () => this.held.delete(offsets);
  }

  /**
   * Brings `offsets` back when `port` has stopped: until then its device may write to them. Without a port, as soon as the
   * workers stand still.
   */
  leave(port: Pktio | undefined, offsets: readonly number[]): void {
    if (offsets.length > 0) this.leftovers.push({ port, offsets });
    this.look();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  /** Once nobody works any more: what the last of the dead took with them is counted too. */
  settle(): void {
    this.takeLeftovers();
    if (this.dead !== undefined) this.countTorn(this.nowhere());
  }

  /** Frames that a device may still use, though its port has left the run. */
  get kept(): readonly (readonly number[])[] {
    return [...this.leftovers.filter(stillUses).map(({ offsets }) => offsets), ...this.held];
  }

  private later(): void {
    const done = this.missing === 0 && this.dead === undefined && this.leftovers.length === 0;
    if (this.stopped || done) return;
    this.timer = setTimeout(() => void this.try(), this.waitMs);
    this.waitMs = Math.min(LAST_MS, this.waitMs * 2);
  }

  private async try(): Promise<void> {
    await this.standstill.during(() => {
      if (!this.stopped) this.narrow();
    });
    clearTimeout(this.timer);
    this.later();
  }

  /** Only while all workers stand still. */
  private narrow(): void {
    this.takeLeftovers();
    const nowhere = this.nowhere();
    if (this.dead !== undefined) {
      this.countTorn(nowhere);
      this.candidates = undefined;
    }
    const { missing } = this;
    if (this.candidates === undefined || this.expected !== missing) this.candidates = nowhere;
    else {
      const still = new Set(nowhere);
      this.candidates = this.candidates.filter((offset) => still.has(offset));
    }
    this.expected = missing;
    if (missing <= 0 || this.candidates.length !== missing) return;
    put(this.means.arena.memory, this.means.frames, this.candidates);
    this.recovered += missing;
    this.candidates = undefined;
    this.expected = 0;
  }

  private takeLeftovers(): void {
    const { arena, frames } = this.means;
    for (const leftover of this.leftovers) if (!stillUses(leftover)) put(arena.memory, frames, leftover.offsets);
    this.leftovers = this.leftovers.filter(stillUses);
  }

  private nowhere(): Int32Array {
    const { arena, frames } = this.means;
    const stacks = this.crew().workers.map(({ memory }) => memory.stackedFrames());
    return nowhere(arena.memory, frames, [...stacks, ...this.ports.rings(), ...this.kept]);
  }

  /** A thread that was ended between two steps may have taken frames that it had not counted yet, or the other way. */
  private countTorn(nowhere: Int32Array): void {
    const { jobs } = this.crew();
    const held = jobs.reduce((sum, { worker, index }) => sum + heldBy(worker.memory.jobLedger(index)), 0n);
    const torn = nowhere.length - Number(held) - this.missing;
    const its = jobs.filter(({ worker, state }) => worker === this.dead && state !== 'detached');
    if (torn > 0) countTorn(this.means.arena.memory, its, torn);
    // Counted as held, and back on a stack all the same: they need not be looked for.
    else this.recovered -= torn;
    this.dead = undefined;
  }
}
