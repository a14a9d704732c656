/** Where written bytes go. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileError } from './errors.ts';

/** Takes bytes in order. */
export interface ByteSink {
  /** Writes up to `length` bytes from `bytes[at]`; returns how many were taken, at least one, or throws. */
  write(bytes: Uint8Array, at: number, length: number): Promise<number>;
}

/** Writes all of it, however many calls that takes. */
export async function writeAll(sink: ByteSink, bytes: Uint8Array, at: number, length: number): Promise<void> {
  for (let done = 0; done < length; ) done += await sink.write(bytes, at + done, length - done);
}

/** How long to wait before a pipe that is full is tried again. */
const PIPE_POLL_MS = 1;

/** Writes to an open file, or to a pipe: then it waits for the reader, until `stop`. */
export class FileSink implements ByteSink {
  private readonly file: string;
  private readonly handle: FileHandle;
  private stopped = false;

  /** The handle stays its owner's. `file` is the name for messages. */
  constructor(file: string, handle: FileHandle) {
    this.file = file;
    this.handle = handle;
  }

  async write(bytes: Uint8Array, at: number, length: number): Promise<number> {
    for (;;) {
      try {
        const { bytesWritten } = await this.handle.write(bytes, at, length);
        return bytesWritten;
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code !== 'EAGAIN' || this.stopped)
          throw fileError(this.file, 'written', cause);
        await sleep(PIPE_POLL_MS);
      }
    }
  }

  /** Makes a write that waits for a pipe fail. */
  stop(): void {
    this.stopped = true;
  }
}

/** Opens `path` for writing at its end, without emptying it and without waiting for a pipe's reader. */
export async function openOutput(path: string): Promise<FileHandle> {
  try {
    const { O_WRONLY, O_CREAT, O_APPEND, O_NONBLOCK } = constants;
    return await open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, 0o666);
  } catch (cause) {
    throw fileError(path, 'opened', cause);
  }
}
