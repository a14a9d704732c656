/** What goes wrong with memory, in words. Control half. */
import { syscallOf } from '../../native/index.ts';
import { ArenaError } from '../errors.ts';
import { hugePages, reserveHugePages } from './available.ts';

/** Why a call of the addon failed. */
export function reasonOf(cause: unknown): string {
  const failed = syscallOf(cause);
  const message = cause instanceof Error ? cause.message : String(cause);
  return failed === undefined ? message : `${failed.syscall} failed (${message})`;
}

/** There is too little memory for `bytes`. */
export function noMemory(bytes: number, why: string, cause?: unknown): ArenaError {
  return new ArenaError(
    'NO_MEMORY',
    { what: `${bytes} bytes of frame or ring memory`, why, fix: 'ask for fewer or smaller frames, or free memory' },
    { cause, detail: { bytes } },
  );
}

/** `pages` huge pages cannot be had; the message has the command that reserves them. */
export function noHugePages(pages: number, why: string, cause?: unknown): ArenaError {
  const { total, free } = hugePages() ?? { total: 0, free: 0 };
  return new ArenaError(
    'NO_HUGEPAGES',
    {
      what: `${pages} huge pages of 2 MiB`,
      why: `${why}, and of ${total} reserved ones ${free} are free`,
      fix: `reserve more: ${reserveHugePages(pages)} (as root), or do without: hugepages: 'try'`,
    },
    { cause, detail: { pages, total, free } },
  );
}
