/** Where a reader's bytes come from. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileError } from './errors.ts';

/** Delivers a file's bytes in order. */
export interface ByteSource {
  /** Reads up to `length` bytes to `into[at]`; 0 is the end. */
  read(into: Uint8Array, at: number, length: number): Promise<number>;
}

/** How long to wait before a pipe that has nothing is asked again. */
const PIPE_POLL_MS = 2;

/** Reads an open file from its start, or a pipe: then it waits for the first writer, until `stop`. */
export class FileSource implements ByteSource {
  private readonly file: string;
  private readonly handle: FileHandle;
  private position = 0;
  private kind: 'file' | 'pipe' | 'device' | undefined;
  private stopped = false;

  /** The handle stays its owner's. `file` is the name for messages. */
  constructor(file: string, handle: FileHandle) {
    this.file = file;
    this.handle = handle;
  }

  async read(into: Uint8Array, at: number, length: number): Promise<number> {
    try {
      this.kind ??= await kindOf(this.handle);
      if (this.kind !== 'file') return await this.readStream(into, at, length);
      // A position of its own: the same open file is read again for every loop.
      const { bytesRead } = await this.handle.read(into, at, length, this.position);
      this.position += bytesRead;
      return bytesRead;
    } catch (cause) {
      throw fileError(this.file, 'read', cause, { offset: this.position });
    }
  }

  /** Makes a read that waits for a pipe return 0. */
  stop(): void {
    this.stopped = true;
  }

  private async readStream(into: Uint8Array, at: number, length: number): Promise<number> {
    while (!this.stopped) {
      const count = await this.readNow(into, at, length);
      this.position += Math.max(count, 0);
      // Nothing at all before the first byte means that no writer has opened the pipe yet.
      if (count > 0 || (count === 0 && (this.position > 0 || this.kind !== 'pipe'))) return count;
      await sleep(PIPE_POLL_MS);
    }
    return 0;
  }

  /** What is there; -1 when nothing is there now. */
  private async readNow(into: Uint8Array, at: number, length: number): Promise<number> {
    try {
      return (await this.handle.read(into, at, length, null)).bytesRead;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return -1;
      throw error;
    }
  }
}

async function kindOf(handle: FileHandle): Promise<'file' | 'pipe' | 'device'> {
  const stat = await handle.stat();
  if (stat.isFile()) return 'file';
  return stat.isFIFO() ? 'pipe' : 'device';
}

/** Opens `path` for reading, without waiting for a pipe's writer. */
export async function openInput(path: string): Promise<FileHandle> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    // A folder can be opened; it is reading that fails.
    if ((await handle.stat()).isDirectory()) throw Object.assign(new Error('is a folder'), { code: 'EISDIR' });
    return handle;
  } catch (cause) {
    await handle?.close();
    throw fileError(path, 'opened', cause);
  }
}
