/** One packet out of a guest's buffers: its header into words of ours, its bytes into as many frames as it takes. Data half. */
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { VHOST_RX } from './block.ts';
import { copyBytes } from './copy.ts';
import { HEADER_WORDS } from './header.ts';
import type { World } from './world.ts';

/** What `take` answers besides 0 and reasons: the packet needs more frames than there are. */
export const NO_FRAME = -1;

export interface Gather {
  /** The header, once there were twelve bytes. */
  readonly header: Int32Array;
  /** Bytes taken, the header's among them. */
  total: number;
  /** The next packet goes to the frames at arena offsets `frames` [from, to), each filled before the next. */
  begin(frames: Int32Array, from: number, to: number): void;
  /**
   * Takes the `length` (unsigned) bytes at a guest address: wherever header and packet meet, and across regions.
   * Returns 0, `NO_FRAME`, or the reason why not.
   */
  take(low: number, high: number, length: number): number;
}

/** Makes it; a packet may have up to `most` bytes, and a frame has room for `room`. */
export function makeGather(world: World, most: number, room: number): Gather {
  const { regions, words, bytes } = world;
  const header = new Int32Array(HEADER_WORDS);
  const headerBytes = new Uint8Array(header.buffer);
  const limit = NET_HDR_BYTES + most;
  let frames: Int32Array = header;
  /** The frame at hand, and the room that is left in it. */
  let at = 0;
  let left = 0;
  let capacity = 0;

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
    gather.total = (gather.total + length) | 0;
    // Each turn ends a frame or the bytes.
    while (length > 0) {
      if (left === 0) {
        at = (at + 1) | 0;
        left = room;
      }
      const n = length < left ? length : left;
      copyBytes(bytes, words, (frames[at] + room - left) | 0, from8, from32, from, n);
      left = (left - n) | 0;
      from = (from + n) | 0;
      length = (length - n) | 0;
    }
  }

  const gather: Gather = {
    header,
    total: 0,
    begin(offsets, from, to) {
      frames = offsets;
      at = from;
      left = room;
      gather.total = 0;
      // Beyond the limit nothing is taken: the product stays small.
      capacity = (NET_HDR_BYTES + Math.imul((to - from) | 0, room)) | 0;
    },
    take(low, high, length) {
      if (length === 0) return VHOST_RX.chain;
      if (length >>> 0 > limit - gather.total) return VHOST_RX.oversize;
      if (length > ((capacity - gather.total) | 0)) return NO_FRAME;
      let rest = length;
      // Each turn ends a region or the buffer: it takes at least a byte of at most 64 KiB.
      while (rest > 0) {
        if (!regions.find(low, high)) return VHOST_RX.address;
        const n = rest < regions.room ? rest : regions.room;
        put(n);
        rest = (rest - n) | 0;
        const next = (low + n) | 0;
        if (next >>> 0 < low >>> 0) high = (high + 1) | 0;
        low = next;
      }
      return 0;
    },
  };
  return gather;
}
