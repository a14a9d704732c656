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

const EFBIG = 27;

/** Why `bytes` of memory could not be mapped: there is too little, or the process may not have files so large. */
export function memoryRefused(bytes: number, cause: unknown): ArenaError {
  if (syscallOf(cause)?.errno !== -EFBIG) return noMemory(bytes, reasonOf(cause), cause);
  return new ArenaError(
    'FILE_SIZE_LIMIT',
    {
      what: `${bytes} bytes of frame or ring memory`,
      why: 'it is a file in memory (memfd), and the limit of file sizes is below that',
      fix: 'raise it: ulimit -f unlimited, LimitFSIZE=infinity in systemd; or ask for fewer or smaller frames',
    },
    { cause, detail: { bytes } },
  );
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
