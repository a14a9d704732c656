/** Addresses of frames as a device knows them. Data half. */

/** Low and high word of the address of arena offset `offset`, which lies in a frame. */
export interface Addresses {
  /** Arena offsets are addresses: nothing to look up, and the high word is 0. */
  readonly direct: boolean;
  low(offset: number): number;
  high(offset: number): number;
}

/** Makes the look-up in the table at `frameAddresses`, if not 0: a frame is contiguous, and does not cross 4 GiB. */
export function makeAddresses(
  memory: SharedArrayBuffer,
  { frameAddresses }: { readonly frameAddresses: number },
  { base, count, frameSize }: { readonly base: number; readonly count: number; readonly frameSize: number },
): Addresses {
  if (frameAddresses === 0) return { direct: true, low: (offset) => offset, high: () => 0 };
  const table = new Int32Array(memory, frameAddresses, count * 2);
  const shift = 31 - Math.clz32(frameSize);
  const inFrame = frameSize - 1;
  return {
    direct: false,
    low: (offset) => (table[((offset - base) >>> shift) << 1] + (offset & inFrame)) | 0,
    high: (offset) => table[(((offset - base) >>> shift) << 1) + 1],
  };
}
