/** The consumer's end of a tx ring: pcapng blocks that go to a file as they are. Control half. */
import { type Adder, makeCounters } from '../../arena/counters.ts';
import { indexAccess } from '../../arena/order.ts';
import type { ByteSink } from '../../capture/sink.ts';
import { DeviceError } from '../../errors.ts';
import { TX } from '../../queue.ts';
import { CONTROL, CONTROL_WORDS, EPB, EPB_WORDS } from './layout.ts';
import { TX_IO_ERROR } from './tx-queue.ts';

/** Takes blocks out of the ring at arena offset `at`, and counts what became of each. */
export class BlockRing {
  private readonly words: Int32Array;
  private readonly arena: Uint8Array;
  private readonly first: number;
  private readonly size: number;
  private readonly access = indexAccess();
  private readonly count: Adder;
  /** Words of whole blocks that were written, and the bytes of the next block that were. */
  private tail = 0;
  private beyond = 0;
  private finished = 0;
  private closed = false;

  /** `size` in words; `counters` is the arena offset of the queue's counters. */
  constructor(memory: SharedArrayBuffer, at: number, size: number, counters: number) {
    this.words = new Int32Array(memory, at, CONTROL_WORDS + size);
    this.arena = new Uint8Array(memory);
    this.first = at + CONTROL_WORDS * 4;
    this.size = size;
    this.count = makeCounters(memory, counters);
  }

  /** Frames that were accepted and have not come to their end. */
  get inFlight(): number {
    return (this.access.load(this.words, CONTROL.accepted) - this.finished) | 0;
  }

  /**
   * Writes what is there now; returns the bytes. `written` hears of each write: bytes, and bytes up to the end of the
   * last whole block. Ends at a block boundary, or throws what the sink throws.
   */
  async writeTo(sink: ByteSink, written: (bytes: number, blocks: number) => void): Promise<number> {
    const head = this.closed ? this.tail : this.access.load(this.words, CONTROL.producer);
    let total = 0;
    while (head !== this.tail) {
      const pending = ((head - this.tail) | 0) * 4 - this.beyond;
      const at = (this.tail * 4 + this.beyond) & (this.size * 4 - 1);
      const bytes = await sink.write(this.arena, this.first + at, Math.min(pending, this.size * 4 - at));
      // Given up meanwhile, and counted: the ring's memory may be somebody else's by now.
      if (this.closed) return total;
      this.beyond += bytes;
      total += bytes;
      written(bytes, this.complete(head));
    }
    return total;
  }

  /** Gives up everything in flight, counted as `reason`; nothing more is written. Later calls count what came since. */
  abandon(reason: number = TX_IO_ERROR): void {
    this.closed = true;
    this.finish(this.inFlight, reason);
  }

  /** From now on the queue accepts nothing. */
  refuse(): void {
    this.access.store(this.words, CONTROL.failed, 1);
  }

  /** Counts the blocks that were written whole, and returns their room to the queue. Returns their bytes. */
  private complete(head: number): number {
    let blocks = 0;
    let bytes = 0;
    while (this.tail !== head) {
      const length = this.words[CONTROL_WORDS + ((this.tail + EPB.length) & (this.size - 1))];
      if (length < EPB_WORDS * 4 || length % 4 !== 0 || length / 4 > ((head - this.tail) | 0)) throw corrupt(length);
      if (length > this.beyond) break;
      this.tail = (this.tail + length / 4) | 0;
      this.beyond -= length;
      bytes += length;
      blocks++;
    }
    // Read and written out, before the queue sees the index move and writes over it.
    this.access.store(this.words, CONTROL.consumer, this.tail);
    this.finish(blocks, TX.completed);
    return bytes;
  }

  private finish(frames: number, counter: number): void {
    this.count(counter, frames);
    this.finished = (this.finished + frames) | 0;
    this.access.store(this.words, CONTROL.done, this.finished);
  }
}

function corrupt(length: number): DeviceError {
  return new DeviceError('RING_CORRUPT', {
    what: 'ring of blocks to write',
    why: `it has a block of ${length} bytes, which no queue writes`,
    fix: 'look for code in this process that writes to arena memory that is not its own',
  });
}
