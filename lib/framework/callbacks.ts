/** Calls of foreign code: each with a deadline, and with an answer to what comes after it. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { RegistryError } from '../errors.ts';

/** How to call. */
export interface CallOptions<T> {
  readonly deadlineMs: number;
  /** Takes over the result of a callback that passed its deadline. If absent, a late rejection is reported. */
  readonly late?: (result: Promise<T>) => void;
}

interface Running {
  /** Ends with the callback: what its `start` has set up goes on asking in this context, and that is not collected. */
  active: boolean;
  /** The work that this callback asked for and could be waiting for. */
  readonly asked: string[];
}

/** Tells whether a callback failed because it passed its deadline: it may be running still. */
export function isTimeout(error: unknown): boolean {
  return error instanceof RegistryError && (error.code === 'CALLBACK_TIMEOUT' || error.code === 'WAITS_FOR_ITSELF');
}

/**
 * Runs callbacks. Work that a callback asks for is done after the callback, so one that awaits it waits for itself.
 * That it asked is known (its asynchronous context tells); that it waits is not, for an event handler that its `start`
 * has set up runs in the same context. So nothing is refused on suspicion: a callback that really waits fails at its
 * deadline, with a code of its own, and then the work is done.
 */
export class Callbacks {
  readonly #context = new AsyncLocalStorage<Running>();
  readonly #onLateError: (source: string, error: unknown) => void;
  #active = 0;

  constructor(onLateError: (source: string, error: unknown) => void) {
    this.#onLateError = onLateError;
  }

  /** Notes that work was asked for, if it was by a callback that still runs. */
  asks(work: string): void {
    const running = this.#context.getStore();
    if (running?.active === true) running.asked.push(work);
  }

  /** Calls `callback`, which belongs to `source`. Rejects as it does, or with `CALLBACK_TIMEOUT` or `WAITS_FOR_ITSELF`. */
  run<T>(source: string, name: string, callback: () => T | Promise<T>, options: CallOptions<T>): Promise<T> {
    const running: Running = { active: true, asked: [] };
    this.#active++;
    const result = this.#context.run(running, async () => callback());
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#end(running);
        reject(deadlineError(source, name, options.deadlineMs, running.asked));
        if (options.late !== undefined) options.late(result);
        else result.catch((error) => this.#onLateError(source, error));
      }, options.deadlineMs);
      const settled = () => {
        clearTimeout(timer);
        this.#end(running);
      };
      result.then(settled, settled);
      result.then(resolve, reject);
    });
  }

  /** While no callback runs there is nothing to tell apart; on Node.js 20 an idle context costs every promise. */
  #end(running: Running): void {
    if (!running.active) return;
    running.active = false;
    this.#active--;
    if (this.#active === 0) this.#context.disable();
  }
}

function deadlineError(source: string, name: string, deadlineMs: number, asked: readonly string[]): RegistryError {
  const detail = { source, callback: name, deadlineMs };
  const what = `${name} of ${source}`;
  if (asked.length === 0) {
    const why = `it did not end within ${deadlineMs} ms`;
    return new RegistryError('CALLBACK_TIMEOUT', { what, why, fix: 'find out what it waits for' }, { detail });
  }
  const why = `it did not end within ${deadlineMs} ms, having asked for ${asked.join(', ')}, which is done after it`;
  const fix = 'do not await that inside the callback: ask for it and return';
  return new RegistryError('WAITS_FOR_ITSELF', { what, why, fix }, { detail });
}
