/**
 * Another process that has what it takes to stop a function when this one dies, by whatever means: `linecard supervise`
 * (docs/adr/0015-keeper.md). This is how an engine sees it. Control half.
 */
import type { FunctionAccess } from './access.ts';

/** A function that is handed over. The fds stay the engine's own: the keeper gets duplicates. */
export type KeptFunction = Pick<FunctionAccess, 'address' | 'fd' | 'configFile'> & {
  /** Back end of the devio: it decides how the function is reset. */
  readonly backend: string;
};

/** Memory that functions may reach: a segment of the arena. */
export interface KeptMemory {
  /** Its memfd; -1 of what is none, and not kept. */
  readonly fd: number;
}

/** Keeps what an engine's functions need. */
export interface Keeper {
  /**
   * The function may use `memory` (all that there is) as soon as this has returned: the keeper has both from now on, even if
   * this process ends in the next moment. Throws `KEEPER_LOST`.
   */
  keep(device: KeptFunction, memory: readonly KeptMemory[]): void;
  /** The function is closed here; resolves when the keeper has closed it, too. `memory` is what there still is. Never rejects. */
  release(address: string, memory: readonly KeptMemory[]): Promise<void>;
  /** Calls `listener` once when the keeper has gone: nobody will stop the functions when this process dies. */
  onLost(listener: (why: string) => void): void;
}
