/** A frame pool as plain data, and the layout of its stacks: what the two halves share. */

/** The pool as plain data, for workers. */
export interface FramesPlan {
  /** Offset of the first frame. */
  readonly base: number;
  readonly count: number;
  readonly frameSize: number;
  readonly headroom: number;
  /** Offset of the depot: see `DEPOT`. */
  readonly depot: number;
  /** Offset of the owner map (a byte per frame), or 0: frames are not tracked. */
  readonly owners: number;
}

/**
 * The depot, as 32-bit words: frames that no worker has. `lock` is 0 or the number of the worker that moves frames
 * just now, plus one; `top` counts the offsets from `first` on. A worker's own stack has the same form.
 */
export const DEPOT = { lock: 0, top: 16, first: 32 } as const;

/** Bytes of a stack with room for `count` frames. */
export const stackBytes = (count: number): number => (DEPOT.first + count) * 4;

/** Owners in the owner map: free, in a ring, or worker n at HELD + n. */
export const OWNER = { free: 0, ring: 1, held: 2 } as const;
