/** One packet out of a guest's buffers: its header into words of ours, its bytes into a frame. Data half. */
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { VHOST_RX } from './block.ts';
import { copyBytes } from './copy.ts';
import { HEADER_WORDS } from './header.ts';
import type { World } from './world.ts';

export interface Gather {
  /** The header, once there were twelve bytes. */
  readonly header: Int32Array;
  /** Bytes taken, the header's among them. */
  total: number;
  /** The next packet goes to arena offset `frame`. */
  begin(frame: number): void;
  /**
   * Takes the `length` (unsigned) bytes at a guest address: wherever header and packet meet, and across regions.
   * Returns 0, or the reason why not.
   */
  take(low: number, high: number, length: number): number;
}

/** Makes it; a packet may have up to `most` bytes. */
export function makeGather(world: World, most: number): Gather {
  const { regions, words, bytes } = world;
  const header = new Int32Array(HEADER_WORDS);
  const headerBytes = new Uint8Array(header.buffer);
  const limit = NET_HDR_BYTES + most;
  let frame = 0;

  /** Copies `length` bytes from where `regions` stands to where they belong. */
  function put(length: number): void {
    const from8 = regions.u8[regions.window];
    const from32 = regions.i32[regions.window];
    let from = regions.offset;
    const missing = (NET_HDR_BYTES - gather.total) | 0;
    if (missing > 0) {
      const n = missing < length ? missing : length;
      for (let i = 0; i < n; i = (i + 1) | 0) headerBytes[(gather.total + i) | 0] = from8[(from + i) | 0];
      gather.total = (gather.total + n) | 0;
      from = (from + n) | 0;
      length = (length - n) | 0;
    }
    copyBytes(bytes, words, (frame + gather.total - NET_HDR_BYTES) | 0, from8, from32, from, length);
    gather.total = (gather.total + length) | 0;
  }

  const gather: Gather = {
    header,
    total: 0,
    begin(at) {
      frame = at;
      gather.total = 0;
    },
    take(low, high, length) {
      if (length === 0) return VHOST_RX.chain;
      if (length >>> 0 > limit - gather.total) return VHOST_RX.oversize;
      let left = length;
      // Each turn ends a region or the buffer: it takes at least a byte of at most 64 KiB.
      while (left > 0) {
        if (!regions.find(low, high)) return VHOST_RX.address;
        const n = left < regions.room ? left : regions.room;
        put(n);
        left = (left - n) | 0;
        const next = (low + n) | 0;
        if (next >>> 0 < low >>> 0) high = (high + 1) | 0;
        low = next;
      }
      return 0;
    },
  };
  return gather;
}
