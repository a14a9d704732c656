/** Files in memory: a source that gives a few bytes at a time, and a sink that fails when it is told to. */
import type { ByteSink } from '../../lib/capture/sink.ts';
import type { ByteSource } from '../../lib/capture/source.ts';

/** Gives `bytes`, at most `chunk` at a time. */
export function bytesSource(bytes: Uint8Array, chunk = Number.POSITIVE_INFINITY): ByteSource {
  let at = 0;
  return {
    async read(into, to, length) {
      const piece = bytes.subarray(at, at + Math.min(chunk, length));
      into.set(piece, to);
      at += piece.length;
      return piece.length;
    },
  };
}

/** Keeps what is written, at most `chunk` bytes a call; throws `error` once `limit` bytes were taken. */
export class BytesSink implements ByteSink {
  readonly pieces: Buffer[] = [];
  private readonly chunk: number;
  private readonly limit: number;
  private readonly error: Error;
  private taken = 0;

  constructor(options: { chunk?: number; limit?: number; error?: Error } = {}) {
    this.chunk = options.chunk ?? Number.POSITIVE_INFINITY;
    this.limit = options.limit ?? Number.POSITIVE_INFINITY;
    this.error = options.error ?? Object.assign(new Error('write'), { code: 'ENOSPC' });
  }

  get bytes(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.pieces));
  }

  async write(bytes: Uint8Array, at: number, length: number): Promise<number> {
    if (this.taken === this.limit) throw this.error;
    const count = Math.min(length, this.chunk, this.limit - this.taken);
    this.pieces.push(Buffer.from(bytes.slice(at, at + count)));
    this.taken += count;
    return count;
  }
}
