/** Runs one engine after the other, as each dies, and says what it does. */
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Native } from '../../native/index.ts';
import { Backoff } from '../engine/backoff.ts';
import type { Hands, Settled } from './custody.ts';
import { type Ended, Life, type LifeOptions } from './life.ts';
import { oomScore, preferEngine } from './oom.ts';

/** How long an engine that was asked to end may take before it is killed. */
const STOP_MS = 30_000;
/** Waits before an engine is started again, from the first to the last. */
const BACKOFF_MS = [100, 5000] as const;
/** An engine that ran for so long had come up well: the next death counts as the first. */
const WELL_MS = 60_000;
/** How a command ends that was wrong as it was typed: it would be wrong again. */
const USAGE = 2;
/** The longest that a timer can wait. */
const LONG_MS = 2 ** 31 - 1;

/** What happens, for the log. */
export type SupervisionEvent =
  | { readonly type: 'started'; readonly pid: number }
  | ({ readonly type: 'ended'; readonly pid: number } & Ended)
  | ({ readonly type: 'settled' } & Settled)
  | { readonly type: 'rebound'; readonly address: string; readonly driver: string }
  | { readonly type: 'restarting'; readonly inMs: number; readonly count: number; readonly most: number }
  | { readonly type: 'error'; readonly error: Error };

/** What is supervised, and how. */
export interface SupervisionOptions extends Omit<LifeOptions, 'failed'> {
  /** How often it is started again in a row at the most; 0: never. */
  readonly restarts: number;
  /** Gives functions back to their kernel drivers when it is not started again; returns the driver. */
  readonly rebind?: (address: string) => Promise<string>;
  tell(event: SupervisionEvent): void;
}

/** The exit code of a process that ended so, as shells have it. */
export const exitCode = ({ code, signal }: Ended): number => code ?? 128 + constants.signals[signal!];

/** One engine after the other, until one ends well, one too many has died, or it is asked to stop. */
export class Supervision {
  private readonly native: Native;
  private readonly hands: Hands;
  private readonly options: SupervisionOptions;
  private readonly stopped = new AbortController();
  private readonly score = oomScore();
  private readonly seen = new Set<string>();
  private life: Life | undefined;
  private deadline: NodeJS.Timeout | undefined;

  constructor(native: Native, hands: Hands, options: SupervisionOptions) {
    this.native = native;
    this.hands = hands;
    this.options = options;
  }

  /** Passes a signal on; no engine is started any more. One that does not end is killed. */
  signal(signal: NodeJS.Signals): void {
    this.stopped.abort();
    this.life?.kill(signal);
    this.deadline ??= setTimeout(() => this.life?.kill('SIGKILL'), STOP_MS);
  }

  /** Resolves to the exit code of the last engine. Throws `SUPERVISE` when it cannot be started. */
  async run(): Promise<number> {
    const { restarts } = this.options;
    const backoff = new Backoff(BACKOFF_MS);
    let count = 0;
    try {
      for (;;) {
        const begin = this.hands.now();
        const { ended, settled } = await this.once();
        const code = exitCode(ended);
        if (settled.some(({ stuck }) => stuck)) return await this.hold(code);
        count = this.hands.now() - begin > WELL_MS ? 1 : count + 1;
        const again = code !== 0 && code !== USAGE && count <= restarts && !this.stopped.signal.aborted;
        if (again && (await this.wait(backoff.next(), count))) continue;
        for (const address of this.seen) await this.giveBack(address);
        return code;
      }
    } finally {
      clearTimeout(this.deadline);
    }
  }

  /** A function still may use its memory, which this process has: it does not end by itself. */
  private async hold(code: number): Promise<number> {
    const { signal } = this.stopped;
    while (!signal.aborted) await sleep(LONG_MS, undefined, { signal }).catch(() => {});
    return code;
  }

  private async wait(inMs: number, count: number): Promise<boolean> {
    const { restarts: most, tell } = this.options;
    tell({ type: 'restarting', inMs, count, most });
    return sleep(inMs, true, { signal: this.stopped.signal }).catch(() => false);
  }

  private async giveBack(address: string): Promise<void> {
    const { rebind, tell } = this.options;
    if (rebind === undefined) return;
    try {
      tell({ type: 'rebound', address, driver: await rebind(address) });
    } catch (error) {
      tell({ type: 'error', error: error as Error });
    }
  }

  /** Runs one engine to its end. */
  private async once(): Promise<Awaited<ReturnType<Life['end']>>> {
    const { options } = this;
    const { tell } = options;
    const failed = (error: Error) => tell({ type: 'error', error });
    const life = new Life(this.native, this.hands, { ...options, failed });
    this.life = life;
    const { pid } = life;
    tell({ type: 'started', pid });
    preferEngine(pid, this.score);
    try {
      const end = await life.end();
      tell({ type: 'ended', pid, ...end.ended });
      for (const one of end.settled) tell({ type: 'settled', ...one });
      return end;
    } finally {
      for (const address of life.seen) this.seen.add(address);
      this.life = undefined;
    }
  }
}
