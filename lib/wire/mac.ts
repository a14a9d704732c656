/** MAC addresses: six bytes (IEEE 802-2014 §8). Text in the control half, words in the data half. */
import { PortError } from '../errors.ts';

/** Bytes of a MAC address. */
export const MAC_SIZE = 6;

/** Reads `02:00:00:00:00:01`. Throws PortError `BAD_MAC` for anything else. */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw new PortError('BAD_MAC', {
      what: `MAC address "${text}"`,
      why: 'it is not six hexadecimal bytes with colons between them',
      fix: 'write it like 02:00:00:00:00:01',
    });
  }
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
}

/** Writes the six bytes at `at` as `02:00:00:00:00:01`. */
export function formatMac(bytes: Uint8Array, at = 0): string {
  const six = Array.from(bytes.subarray(at, at + MAC_SIZE), (byte) => byte.toString(16).padStart(2, '0'));
  return six.join(':');
}

/**
 * Returns destination and source as the three int32 that stand at the start of a frame, for `putMacs`: a fast path
 * that rewrites both addresses does it with three stores.
 */
export function macWords(destination: Uint8Array, source: Uint8Array): Int32Array {
  const both = new Uint8Array(2 * MAC_SIZE);
  both.set(destination.subarray(0, MAC_SIZE), 0);
  both.set(source.subarray(0, MAC_SIZE), MAC_SIZE);
  return new Int32Array(both.buffer);
}

/** Writes the words of `macWords` to the frame at `at`, a multiple of 4. */
export function putMacs(i32: Int32Array, at: number, words: Int32Array): void {
  const w = at >>> 2;
  i32[w] = words[0];
  i32[w + 1] = words[1];
  i32[w + 2] = words[2];
}

/** As `putMacs`, for the first `count` frames of a burst: `offsets` are those of its packets. */
export function putBurstMacs(i32: Int32Array, offsets: Int32Array, count: number, words: Int32Array): void {
  const a = words[0];
  const b = words[1];
  const c = words[2];
  const fours = count & ~3;
  // By fours: V8 loads a view's base and length for every turn of a loop.
  for (let i = 0; i < fours; i = (i + 4) | 0) {
    const w = offsets[i] >>> 2;
    const x = offsets[(i + 1) | 0] >>> 2;
    const y = offsets[(i + 2) | 0] >>> 2;
    const z = offsets[(i + 3) | 0] >>> 2;
    i32[w] = a;
    i32[(w + 1) | 0] = b;
    i32[(w + 2) | 0] = c;
    i32[x] = a;
    i32[(x + 1) | 0] = b;
    i32[(x + 2) | 0] = c;
    i32[y] = a;
    i32[(y + 1) | 0] = b;
    i32[(y + 2) | 0] = c;
    i32[z] = a;
    i32[(z + 1) | 0] = b;
    i32[(z + 2) | 0] = c;
  }
  // The last of the fours again: V8 throws its code away when it meets a line that had not run before.
  for (let i = fours > 0 ? (fours - 1) | 0 : 0; i < count; i = (i + 1) | 0) putMacs(i32, offsets[i], words);
}

/** True for a group address, broadcast included (the I/G bit, IEEE 802-2014 §8.2.2). */
export const isGroupMac = (u8: Uint8Array, at: number): boolean => (u8[at] & 1) === 1;
