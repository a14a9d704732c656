/** The header of received packets (virtio 1.2 §5.1.6.4): nothing in it is believed. Data half. */

import { NET_HDR, NET_HDR_F } from '../../virtio/net.ts';
import { fold, sum } from '../../wire/checksum.ts';

/** Completes checksums that the sender has left to us. */
export interface Checksums {
  /**
   * For the packet of `length` bytes at `packet`, whose header lies right before it: stores the checksum if the header
   * asks for it. False when what the header says lies outside of the packet.
   */
  complete(packet: number, length: number): boolean;
}

const HDR_WORDS = { flags: -3, csumStart: -2, csumOffset: -1 } as const;

/** Makes it over `memory`. */
export function makeChecksums(memory: SharedArrayBuffer): Checksums {
  const i32 = new Int32Array(memory);
  const u8 = new Uint8Array(memory);
  return {
    complete(packet, length) {
      const word = packet >>> 2;
      const flags = i32[word + HDR_WORDS.flags] & 0xff;
      // With RSC_INFO the fields mean something else (§5.1.6.4.2); it is not negotiated, so that it is ignored.
      if ((flags & NET_HDR_F.NEEDS_CSUM) === 0 || (flags & NET_HDR_F.RSC_INFO) !== 0) return true;
      // Copied once: what is checked is what is used (CVE-2024-11614, and the double fetch in its first fix).
      const start = i32[word + HDR_WORDS.csumStart] >>> 16;
      const offset = i32[word + HDR_WORDS.csumOffset] & 0xffff;
      const field = start + offset;
      if (field + 2 > length) return false;
      // The field holds the sum of the pseudo-header: it is part of what is summed up (§5.1.6.2).
      const checksum = ~fold(sum(i32, packet + start, length - start)) & 0xffff;
      // Zero means "none" in UDP; the other zero is as good everywhere.
      const stored = checksum === 0 ? 0xffff : checksum;
      u8[packet + field] = stored >>> 8;
      u8[packet + field + 1] = stored & 0xff;
      return true;
    },
  };
}

/** Word of the header that has `num_buffers` in its upper half, from the word of the packet. */
export const NUM_BUFFERS_WORD = (NET_HDR.numBuffers >> 2) - 3;
