/** Fields that are byte strings: MAC and IPv6 addresses. Either half; allocates nothing. */

/** Writes all of `bytes` at `at`. A loop, since `set` costs more for so few. */
export function putBytes(u8: Uint8Array, at: number, bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; i = (i + 1) | 0) u8[at + i] = bytes[i];
}

/** Fills `out` with the bytes at `at`. */
export function getBytes(u8: Uint8Array, at: number, out: Uint8Array): void {
  for (let i = 0; i < out.length; i = (i + 1) | 0) out[i] = u8[at + i];
}

/** True when the bytes at `at` are `bytes`. */
export function sameBytes(u8: Uint8Array, at: number, bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i = (i + 1) | 0) if (u8[at + i] !== bytes[i]) return false;
  return true;
}
