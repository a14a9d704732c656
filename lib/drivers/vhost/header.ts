/** The header before each packet of a guest (virtio 1.2 §5.1.6), as three words of ours. Data half. */

import { NET_HDR_F } from '../../virtio/net.ts';
import { checksum, type Views } from '../../wire/checksum.ts';

/** Words of the header: flags, gso_type and hdr_len; gso_size and csum_start; csum_offset and num_buffers. */
export const HEADER_WORDS = 3;

/** What a header that asks for nothing has in these bits of its first word: flags that mean something, and gso_type. */
export const PLAIN_MASK = NET_HDR_F.NEEDS_CSUM | 0xff00;

/**
 * Does what the header asks for with the packet of `length` bytes at arena offset `at`: a checksum is completed
 * (§5.1.6.2.1), when that was negotiated and its field is in the packet. Returns false when it cannot be done.
 * The header and the packet are copies: nobody changes them meanwhile.
 */
export function obeyHeader(header: Int32Array, views: Views, at: number, length: number, csum: boolean): boolean {
  const first = header[0];
  if ((first & PLAIN_MASK) === 0) return true;
  // Segmentation is never offered; hdr_len is a hint that we don't need.
  if ((first & 0xff00) !== 0 || !csum) return false;
  const start = header[1] >>> 16;
  const field = (start + (header[2] & 0xffff)) | 0;
  if (field + 2 > length) return false;
  // The field holds the pseudo-header's sum. Zero means "none" to UDP, and is the same number otherwise.
  const sum = checksum(views.i32, at + start, length - start, 0);
  views.view.setUint16(at + field, sum === 0 ? 0xffff : sum);
  return true;
}
