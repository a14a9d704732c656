/** What is said about capture files that are malformed, missing, or on a full disk. */
import { CaptureError } from '../errors.ts';
import { LINKTYPE_ETHERNET } from './format.ts';

/** Returns the error for bytes that break the format; `offset` is where in the file the broken part starts. */
export function malformed(code: string, file: string, offset: number, why: string, fix?: string): CaptureError {
  return new CaptureError(
    code,
    {
      what: `capture ${file}, byte ${offset}`,
      why,
      fix: fix ?? 'what precedes it was read; copy or capture the file again, or cut it off there',
    },
    { detail: { file, offset } },
  );
}

/** Returns the error for packets that are not Ethernet frames. */
export function wrongLinkType(file: string, offset: number, linkType: number): CaptureError {
  const why = `its packets have link type ${linkType}, not Ethernet (${LINKTYPE_ETHERNET})`;
  return malformed(
    'CAPTURE_LINKTYPE',
    file,
    offset,
    why,
    'capture on an Ethernet interface, or convert it (tcprewrite --dlt=enet)',
  );
}

const REMEDIES: Readonly<Record<string, readonly [code: string, why: string, fix: string]>> = {
  ENOENT: [
    'CAPTURE_NOT_FOUND',
    'there is no such file or folder',
    'check the path, which starts at the current folder',
  ],
  ENOTDIR: ['CAPTURE_NOT_FOUND', 'a part of the path is not a folder', 'check the path'],
  EISDIR: ['CAPTURE_NOT_A_FILE', 'it is a folder', 'name a file in it'],
  EACCES: ['CAPTURE_DENIED', 'this user may not', 'change the file’s permissions (chmod), or name another file'],
  EPERM: ['CAPTURE_DENIED', 'this user may not', 'change the file’s permissions (chmod, chattr), or name another file'],
  EROFS: ['CAPTURE_DENIED', 'it is on a read-only file system', 'name a file on another one'],
  ENXIO: ['CAPTURE_NO_READER', 'nobody reads from that pipe', 'start its reader first'],
  EPIPE: ['CAPTURE_NO_READER', 'the reader of that pipe has gone', 'keep the reader running until the port has closed'],
  ENOSPC: ['CAPTURE_DISK_FULL', 'no space is left on the device', 'free some, or write to another file system'],
  EDQUOT: ['CAPTURE_DISK_FULL', 'the disk quota is used up', 'free some space, or raise the quota'],
  EFBIG: [
    'CAPTURE_DISK_FULL',
    'the file would exceed a size limit',
    'raise "ulimit -f", or write to another file system',
  ],
  EMFILE: ['CAPTURE_IO', 'this process has too many open files', 'raise "ulimit -n"'],
};

/** Returns the error for a failed system call on `file`. `doing` completes "cannot be …": `opened`, `written`. */
export function fileError(
  file: string,
  doing: string,
  cause: unknown,
  detail: Record<string, number> = {},
): CaptureError {
  const { code: errno = '', message } = cause as NodeJS.ErrnoException;
  const [code, why, fix] = REMEDIES[errno] ?? ['CAPTURE_IO', message, 'check the file and the device that it is on'];
  return new CaptureError(
    code,
    { what: `capture ${file} cannot be ${doing}`, why: errno === '' ? why : `${why} (${errno})`, fix },
    { cause, detail: { file, errno, ...detail } },
  );
}
