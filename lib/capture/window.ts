/** The part of a file that has been read and is not parsed yet: a buffer that slides over the file. */
import { MAX_BLOCK } from './format.ts';

const FIRST_CAPACITY = 256 * 1024;

/** Bytes [start, end) of `bytes` are waiting. Holds at most one block of the largest size. */
export class ByteWindow {
  bytes: Uint8Array;
  view: DataView;
  start = 0;
  end = 0;
  /** Where in the file `start` is. */
  position = 0;

  constructor(capacity = FIRST_CAPACITY) {
    this.bytes = new Uint8Array(capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Bytes that are waiting. */
  get length(): number {
    return this.end - this.start;
  }

  /** Starts over, with another file or the same. */
  reset(): void {
    this.start = 0;
    this.end = 0;
    this.position = 0;
  }

  /** The next `count` bytes are parsed. They stay where they are until `makeRoom`. */
  take(count: number): void {
    this.start += count;
    this.position += count;
  }

  /**
   * Makes room behind `end`; returns how many bytes fit there. Moves what is waiting to the front. Grows only when all of
   * it is one unfinished block, so that memory follows what a file has, never what it claims.
   */
  makeRoom(): number {
    if (this.start > 0) {
      this.bytes.copyWithin(0, this.start, this.end);
      this.end -= this.start;
      this.start = 0;
    } else if (this.end === this.bytes.length && this.end < MAX_BLOCK) {
      const larger = new Uint8Array(Math.min(this.end * 2, MAX_BLOCK));
      larger.set(this.bytes);
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    return this.bytes.length - this.end;
  }
}
