/**
 * What the two halves of the `pcap` driver share: one ring of bytes per queue, and the words that steer it.
 * A ring starts with control words; indices are free-running counts of 32-bit words.
 */

/** Control words, by index; what different threads write is on cache lines of its own. */
export const CONTROL = {
  /** Words that the producer has put in. */
  producer: 0,
  /** tx: frames that the queue has put in. */
  accepted: 1,
  /** Words that the consumer has taken out. */
  consumer: 16,
  /** tx: frames that were written, or given up. */
  done: 17,
  /** tx: 1 when the file takes no more. */
  failed: 18,
  /** rx: a double, when the first frame was released, in nanoseconds of the worker's clock; 0 before. */
  start: 32,
} as const;

/** Control words before the first word of a ring. */
export const CONTROL_WORDS = 64;

/** An rx record, by word: a header of four, then the bytes. A record starts at a multiple of four words. */
export const RECORD = {
  /** Bytes that follow: all of them, or none of a packet that is too long. */
  stored: 0,
  /** Bytes of the packet. */
  length: 1,
  /** When it is due: nanoseconds after the first one. */
  dueLo: 2,
  dueHi: 3,
  bytes: 4,
} as const;

/**
 * A tx ring holds the file's own bytes: enhanced packet blocks (draft-ietf-opsawg-pcapng §4.3), by word. After the data
 * come the option `epb_flags` (code 2, 4 bytes), the end of options, and the length once more.
 */
export const EPB = {
  type: 0,
  length: 1,
  interface: 2,
  timeHi: 3,
  timeLo: 4,
  captured: 5,
  original: 6,
  data: 7,
} as const;

/** Block type of an enhanced packet block. */
export const EPB_TYPE = 6;
/** Option header: code 2 (`epb_flags`), length 4; then the value: outbound (§4.3.1). */
export const EPB_FLAGS = (4 << 16) | 2;
export const EPB_OUTBOUND = 2;
/** Words of an enhanced packet block besides its data. */
export const EPB_WORDS = 11;

/** Words of an rx record of `length` bytes. */
export const recordWords = (length: number): number => (RECORD.bytes + ((length + 3) >>> 2) + 3) & ~3;

/** Words of the block of a frame of `length` bytes. */
export const blockWords = (length: number): number => EPB_WORDS + ((length + 3) >>> 2);

/** Words of a ring that holds `frames` frames of up to `maxLength` bytes, either way: a power of two. */
export function ringWords(frames: number, maxLength: number): number {
  const words = frames * Math.max(recordWords(maxLength), blockWords(maxLength));
  return 2 ** Math.ceil(Math.log2(words));
}

/** Bytes of such a ring with its control words. */
export const ringBytes = (words: number): number => (CONTROL_WORDS + words) * 4;

/**
 * From here on V8's `copyWithin` (a call, 30 ns, then 8 bytes at a time) is faster than a loop over words; but only
 * where source and target agree modulo 8 bytes: otherwise it goes byte by byte, as shared memory has it.
 */
export const LONG_WORDS = 48;
