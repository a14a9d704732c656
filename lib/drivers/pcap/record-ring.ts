/** The producer's end of an rx ring: packets of a file as records. Control half. */
import { indexAccess } from '../../arena/order.ts';
import type { PacketRecord } from '../../capture/types.ts';
import { CONTROL, CONTROL_WORDS, RECORD, recordWords } from './layout.ts';

const TWO32 = 0x1_0000_0000;
/** From this length on, one call that copies costs less than a loop. */
const LONG = 192;

/** Puts packets into the ring at arena offset `at`. */
export class RecordRing {
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly access = indexAccess();
  private readonly size: number;
  private readonly maxLength: number;
  private head = 0;
  private seen = 0;

  /** `size` in words, a power of two. Of packets longer than `maxLength` only the length goes in. */
  constructor(memory: SharedArrayBuffer, at: number, size: number, maxLength: number) {
    this.words = new Int32Array(memory, at, CONTROL_WORDS + size);
    this.bytes = new Uint8Array(memory, at + CONTROL_WORDS * 4, size * 4);
    this.size = size;
    this.maxLength = maxLength;
  }

  /** Puts a packet in, due `due` nanoseconds after the first. False when there is no room. Not visible before `publish`. */
  put(record: PacketRecord, due: number): boolean {
    const { words, size } = this;
    const { captured } = record;
    const stored = captured > this.maxLength ? 0 : captured;
    const used = recordWords(stored);
    if (this.used + used > size) {
      this.seen = this.access.load(words, CONTROL.consumer);
      if (this.used + used > size) return false;
    }
    const at = this.head & (size - 1);
    words[CONTROL_WORDS + at + RECORD.stored] = stored;
    words[CONTROL_WORDS + at + RECORD.length] = captured;
    words[CONTROL_WORDS + at + RECORD.dueLo] = (due % TWO32) | 0;
    words[CONTROL_WORDS + at + RECORD.dueHi] = Math.floor(due / TWO32);
    if (stored < LONG) this.packShort(record, at + RECORD.bytes, stored);
    else this.copyLong(record, (at + RECORD.bytes) * 4, stored);
    this.head = (this.head + used) | 0;
    return true;
  }

  /** Makes what was put in visible to the queue. */
  publish(): void {
    // The records before the index: the queue reads them once it sees the index move.
    this.access.store(this.words, CONTROL.producer, this.head);
  }

  /** True when the queue has taken everything out. */
  get empty(): boolean {
    return this.access.load(this.words, CONTROL.consumer) === this.access.load(this.words, CONTROL.producer);
  }

  private get used(): number {
    return (this.head - this.seen) | 0;
  }

  private packShort(record: PacketRecord, to: number, length: number): void {
    const { words, size } = this;
    const { bytes } = record;
    const mask = size - 1;
    const whole = length & ~3;
    const end = record.start + length;
    let at = record.start;
    let word = to;
    for (const stop = at + whole; at < stop; at += 4) {
      words[CONTROL_WORDS + (word & mask)] =
        bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
      word++;
    }
    let rest = 0;
    for (let shift = 0; at < end; at++, shift += 8) rest |= bytes[at] << shift;
    if (whole < length) words[CONTROL_WORDS + (word & mask)] = rest;
  }

  private copyLong(record: PacketRecord, to: number, length: number): void {
    const { bytes, start } = record;
    const at = to & (this.bytes.length - 1);
    const before = Math.min(length, this.bytes.length - at);
    this.bytes.set(bytes.subarray(start, start + before), at);
    if (before < length) this.bytes.set(bytes.subarray(start + before, start + length), 0);
  }
}
