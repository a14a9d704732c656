/** What the parts of one framework share. */
import { RegistryError } from '../errors.ts';
import { Callbacks } from './callbacks.ts';
import { Events } from './events.ts';
import { Registry } from './registry.ts';
import type { Device } from './types.ts';
import { WorkQueue } from './work-queue.ts';

/** How a framework is made. */
export interface FrameworkOptions {
  /**
   * Called, and waited for within the unbinding's deadline, before the pktio of a bound device is closed: makes the
   * workers leave its queues.
   */
  readonly onQuiesce?: (device: Device) => void | Promise<void>;
  /**
   * Called when the driver of a bound device is exchanged: has the workers leave its queues, calls `exchange`, which
   * resolves to whether the rings went on, and has them come back. Rejects as that does.
   */
  readonly onReplace?: (device: Device, exchange: () => Promise<boolean>) => Promise<void>;
  /** How long an unbinding may take before it is forced: 2,000 if absent. */
  readonly unbindDeadlineMs?: number;
  /** How long each step of a forced unbinding may take: 1,000 if absent. */
  readonly forceDeadlineMs?: number;
  /** How long any other callback (`start`, `stop`, `usable`, `open`, `probe`) may take: 10,000 if absent. */
  readonly callbackDeadlineMs?: number;
}

const DEFAULTS = {
  onQuiesce: () => {},
  onReplace: async (_device: Device, exchange: () => Promise<boolean>) => {
    await exchange();
  },
  unbindDeadlineMs: 2_000,
  forceDeadlineMs: 1_000,
  callbackDeadlineMs: 10_000,
} satisfies Required<FrameworkOptions>;

/** The longest delay of a timer; a longer one would be none at all. */
const MAX_MS = 2 ** 31 - 1;

/** Refuses what is not a time to wait, with `BAD_DEADLINE`. */
export function checkDeadline(name: string, ms: number): number {
  if (Number.isFinite(ms) && ms >= 0 && ms <= MAX_MS) return ms;
  const why = `${String(ms)} is no number of milliseconds`;
  throw new RegistryError('BAD_DEADLINE', { what: name, why, fix: `use a number from 0 to ${MAX_MS}` });
}

/** One framework's tables, queue, listeners and limits. */
export class Core {
  readonly registry = new Registry();
  readonly events = new Events();
  readonly queue = new WorkQueue();
  readonly callbacks = new Callbacks((source, error) => this.events.error(source, error));
  readonly limits: Required<FrameworkOptions>;
  /** Classes are started, devices may be matched. Changed by the start and stop jobs only. */
  running = false;
  /** A stop was asked for: whatever still matches may as well stop doing so. */
  stopping = false;
  #rematch = false;

  constructor(options: FrameworkOptions) {
    const ms = (key: 'unbindDeadlineMs' | 'forceDeadlineMs' | 'callbackDeadlineMs') =>
      checkDeadline(key, options[key] ?? DEFAULTS[key]);
    this.limits = {
      onQuiesce: options.onQuiesce ?? DEFAULTS.onQuiesce,
      onReplace: options.onReplace ?? DEFAULTS.onReplace,
      unbindDeadlineMs: ms('unbindDeadlineMs'),
      forceDeadlineMs: ms('forceDeadlineMs'),
      callbackDeadlineMs: ms('callbackDeadlineMs'),
    };
  }

  /** Queues work whose result somebody waits for. `work` is for the message, if a callback does. */
  ask<T>(work: string, job: () => Promise<T>): Promise<T> {
    this.callbacks.asks(work);
    return this.queue.add(job);
  }

  /** As `ask`, for work that one need not wait for: its failures are events in any case, never unhandled rejections. */
  order(work: string, job: () => Promise<void>): Promise<void> {
    const done = this.ask(work, job);
    done.catch(() => {});
    return done;
  }

  /** Orders the end of a registered object: once, however often it is asked for. */
  leave(record: { leaving: Promise<void> | undefined }, work: string, job: () => Promise<void>): Promise<void> {
    if (record.leaving === undefined) record.leaving = this.order(work, job);
    else this.callbacks.asks(work);
    return record.leaving;
  }

  /** Queues work that nobody waits for. */
  later(source: string, job: () => Promise<void>): void {
    this.queue.add(job).catch((error) => this.events.error(source, error));
  }

  /** Calls a registered object. Rejects as it does. */
  call<T>(
    source: string,
    name: string,
    callback: () => T | Promise<T>,
    late?: (result: Promise<T>) => void,
  ): Promise<T> {
    const deadlineMs = this.limits.callbackDeadlineMs;
    return this.callbacks.run(source, name, callback, late === undefined ? { deadlineMs } : { deadlineMs, late });
  }

  /** Calls a registered object where a failure changes nothing: it is reported. */
  async attempt(source: string, name: string, callback: () => void | Promise<void>): Promise<void> {
    await this.call(source, name, callback).catch((error) => this.events.error(source, error));
  }

  /** Waits for a result that comes after its deadline, and has `release` let go of it in its turn. */
  releaseLate<T>(source: string, result: Promise<T>, name: string, release: (value: T) => void | Promise<void>): void {
    result.then(
      (value) => this.later(source, () => this.attempt(source, name, () => release(value))),
      (error) => this.events.error(source, error),
    );
  }

  /** Calls the `stop` of a driver or devio that is not to be used any more, once. */
  async stop(source: string, record: { stopped: boolean; object: { stop?(): void | Promise<void> } }): Promise<void> {
    if (record.stopped) return;
    record.stopped = true;
    await this.attempt(source, 'stop', () => record.object.stop?.());
  }

  /** Queues `job`, one at a time: however many registrations come together, they are matched together. */
  rematch(job: () => Promise<void>): void {
    if (this.#rematch) return;
    this.#rematch = true;
    this.later('framework', () => {
      this.#rematch = false;
      return job();
    });
  }
}
