/** A port's files: opened, locked against other engines, closed. Control half. */
import type { FileHandle } from 'node:fs/promises';
import { constants } from 'node:os';
import { fileError } from '../../capture/errors.ts';
import { CaptureReader } from '../../capture/reader.ts';
import { FileSink, openOutput } from '../../capture/sink.ts';
import { FileSource, openInput } from '../../capture/source.ts';
import { PortError } from '../../errors.ts';
import type { RecorderFile } from './recorder.ts';
import type { ReplayFile } from './replay.ts';

/** What the addon does for this driver. */
export interface Locks {
  /** Locks a file, exclusively unless `shared`, or throws EWOULDBLOCK (negative, in `errno`) at once. */
  flock(fd: number, shared?: boolean): void;
}

/** Opens `name` for reading and looks at its beginning. Shared lock: others may read it, none may overwrite it. */
export async function openReplayFile(port: string, name: string, locks: Locks): Promise<ReplayFile> {
  const handle = await openInput(name);
  try {
    const regular = (await handle.stat()).isFile();
    if (!regular) return { name, handle, regular };
    lock(port, name, handle, locks, true);
    const reader = new CaptureReader(name, new FileSource(name, handle));
    await reader.fill();
    reader.next();
    return { name, handle, regular };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** An output file, ready to be appended to. */
export class OutputFile implements RecorderFile {
  readonly name: string;
  /** Its length when it was opened. */
  readonly length: number;
  private readonly handle: FileHandle;
  private readonly sink: FileSink;
  private readonly regular: boolean;

  private constructor(name: string, handle: FileHandle, length: number, regular: boolean) {
    this.name = name;
    this.handle = handle;
    this.sink = new FileSink(name, handle);
    this.length = length;
    this.regular = regular;
  }

  /**
   * Opens `name` for writing. Exclusive lock: only then is it emptied, unless `append`. Throws `PORT_BUSY` when
   * somebody else writes or replays it, `PORT_SAME_FILE` when it is `input`.
   */
  static async open(
    port: string,
    name: string,
    locks: Locks,
    append: boolean,
    input?: FileHandle,
  ): Promise<OutputFile> {
    const handle = await openOutput(name);
    try {
      const stat = await handle.stat();
      const regular = stat.isFile();
      if (input !== undefined) await requireOther(port, name, stat, input);
      if (!regular) return new OutputFile(name, handle, 0, false);
      lock(port, name, handle, locks, false);
      if (append) return new OutputFile(name, handle, stat.size, true);
      await handle.truncate(0);
      return new OutputFile(name, handle, 0, true);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  write(bytes: Uint8Array, at: number, length: number): Promise<number> {
    return this.sink.write(bytes, at, length);
  }

  async cut(length: number): Promise<void> {
    if (this.regular) await this.handle.truncate(length);
  }

  stop(): void {
    this.sink.stop();
  }

  /** Gives the lock back. Some file systems tell only now that they could not write. */
  async close(): Promise<void> {
    try {
      await this.handle.close();
    } catch (cause) {
      throw fileError(this.name, 'written', cause);
    }
  }
}

function lock(port: string, file: string, { fd }: FileHandle, locks: Locks, shared: boolean): void {
  try {
    locks.flock(fd, shared);
  } catch (cause) {
    const errno = -Number((cause as { errno?: unknown }).errno);
    // A file system without locks (some network ones): for reading, do without.
    if (shared && errno !== constants.errno.EWOULDBLOCK) return;
    throw errno === constants.errno.EWOULDBLOCK ? busy(port, file, shared, cause) : unlockable(port, file, cause);
  }
}

function busy(port: string, file: string, reading: boolean, cause: unknown): PortError {
  const text = {
    what: `port ${port}: file ${file}`,
    why: reading ? 'another port or engine is writing it' : 'another port or engine is writing or replaying it',
    fix: 'name another file, or stop the other one',
  };
  return new PortError('PORT_BUSY', text, { cause, detail: { port, file } });
}

function unlockable(port: string, file: string, cause: unknown): PortError {
  const why = `it cannot be locked (${(cause as Error).message}), so that another engine might write it too`;
  const text = { what: `port ${port}: file ${file}`, why, fix: 'name a file on a local file system' };
  return new PortError('PORT_NO_LOCK', text, { cause, detail: { port, file } });
}

async function requireOther(
  port: string,
  file: string,
  out: { dev: number; ino: number },
  input: FileHandle,
): Promise<void> {
  const { dev, ino } = await input.stat();
  if (dev !== out.dev || ino !== out.ino) return;
  const text = { what: `port ${port}`, why: `in and out are the same file, ${file}`, fix: 'name another file as out' };
  throw new PortError('PORT_SAME_FILE', text, { detail: { port, file } });
}
