/** The header before each packet of a guest (virtio 1.2 §5.1.6), as three words of ours. Data half. */

import { NET_HDR_F } from '../../virtio/net.ts';
import { completeParts, type PartViews } from '../../wire/parts.ts';

/** Words of the header: flags, gso_type and hdr_len; gso_size and csum_start; csum_offset and num_buffers. */
export const HEADER_WORDS = 3;

/** What a header that asks for nothing has in these bits of its first word: flags that mean something, and gso_type. */
export const PLAIN_MASK = NET_HDR_F.NEEDS_CSUM | 0xff00;

/**
 * Does what the header asks for with the packet of `length` bytes in `n` parts: a checksum is completed (§5.1.6.2.1),
 * when that was negotiated and its field is in the packet. Returns false when it cannot be done. The header and the packet
 * are copies: nobody changes them meanwhile.
 */
export function obeyHeader(
  header: Int32Array,
  views: PartViews,
  offsets: Int32Array,
  lengths: Int32Array,
  n: number,
  length: number,
  csum: boolean,
): boolean {
  const first = header[0];
  if ((first & PLAIN_MASK) === 0) return true;
  // Segmentation is never offered; hdr_len is a hint that we don't need.
  if ((first & 0xff00) !== 0 || !csum) return false;
  const start = header[1] >>> 16;
  return completeParts(views, offsets, lengths, n, length, start, (start + (header[2] & 0xffff)) | 0);
}
