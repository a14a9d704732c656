/** The header of received packets (virtio 1.2 §5.1.6.4): nothing in it is believed. Data half. */

import { NET_HDR, NET_HDR_F } from '../../virtio/net.ts';
import { completeParts } from '../../wire/parts.ts';

/** Completes checksums that the sender has left to us. */
export interface Checksums {
  /**
   * For the packet of `length` bytes at `packet`, whose header lies right before it: stores the checksum if the header
   * asks for it. False when what the header says lies outside of the packet.
   */
  complete(packet: number, length: number): boolean;
  /** The same for one of `total` bytes in `n` parts, the header before the first. */
  completeAll(offsets: Int32Array, lengths: Int32Array, n: number, total: number): boolean;
}

const HDR_WORDS = { flags: -3, csumStart: -2, csumOffset: -1 } as const;

/** Makes it over `memory`. */
export function makeChecksums(memory: SharedArrayBuffer): Checksums {
  const i32 = new Int32Array(memory);
  const u8 = new Uint8Array(memory);
  const views = { i32, u8 };
  const offset = new Int32Array(1);
  const size = new Int32Array(1);

  function completeAll(offsets: Int32Array, lengths: Int32Array, n: number, total: number): boolean {
    const word = offsets[0] >>> 2;
    const flags = i32[word + HDR_WORDS.flags] & 0xff;
    // With RSC_INFO the fields mean something else (§5.1.6.4.2); it is not negotiated, so that it is ignored.
    if ((flags & NET_HDR_F.NEEDS_CSUM) === 0 || (flags & NET_HDR_F.RSC_INFO) !== 0) return true;
    // Copied once: what is checked is what is used (CVE-2024-11614, and the double fetch in its first fix).
    const start = i32[word + HDR_WORDS.csumStart] >>> 16;
    const field = (start + (i32[word + HDR_WORDS.csumOffset] & 0xffff)) | 0;
    return completeParts(views, offsets, lengths, n, total, start, field);
  }

  return {
    complete(packet, length) {
      offset[0] = packet;
      size[0] = length;
      return completeAll(offset, size, 1, length);
    },
    completeAll,
  };
}

/** Word of a header that has `num_buffers` in its upper half. */
export const NUM_BUFFERS_WORD = NET_HDR.numBuffers >> 2;
