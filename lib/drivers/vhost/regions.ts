/** Guest addresses to places in the peer's windows. Data half. */
import { BLOCK, MAX_REGIONS, REGION, REGIONS_AT } from './block.ts';

/** A peer's memory as a queue sees it. What `find` found stays in `window`, `offset` and `room`. */
export interface Regions {
  /** Views of the windows, by number. */
  readonly i32: readonly Int32Array[];
  readonly i64: readonly BigInt64Array[];
  readonly u16: readonly Uint16Array[];
  readonly u8: readonly Uint8Array[];
  /** Place of the address, and bytes from there to the end of its region. */
  window: number;
  offset: number;
  room: number;
  /** The region of the last place: address, bytes, and what an offset is above its address. For shortcuts. */
  low: number;
  high: number;
  bytes: number;
  delta: number;
  /** Takes the table of regions as it is now. */
  attach(): void;
  /** True when the guest address is in a region. */
  find(low: number, high: number): boolean;
}

/** Makes the view of `windows` through the table behind the block at arena offset `block`. */
export function makeRegions(memory: SharedArrayBuffer, block: number, windows: readonly SharedArrayBuffer[]): Regions {
  const words = new Int32Array(memory, block, BLOCK.words);
  const table = new Int32Array(memory, block + REGIONS_AT, MAX_REGIONS * REGION.words);
  let count = 0;

  /** Index in the table of the last region that does not begin above the address, or -1. */
  function below(low: number, high: number): number {
    let from = 0;
    let to = count;
    // At most eleven turns: the table has at most 1,024 regions.
    while (from < to) {
      const middle = (from + to) >>> 1;
      const at = middle * REGION.words;
      const h = table[at + REGION.high];
      const above = h >>> 0 > high >>> 0 || (h === high && table[at + REGION.low] >>> 0 > low >>> 0);
      if (above) to = middle;
      else from = middle + 1;
    }
    return from - 1;
  }

  const regions: Regions = {
    i32: windows.map((window) => new Int32Array(window)),
    i64: windows.map((window) => new BigInt64Array(window)),
    u16: windows.map((window) => new Uint16Array(window)),
    u8: windows.map((window) => new Uint8Array(window)),
    window: 0,
    offset: 0,
    room: 0,
    low: 0,
    high: 0,
    bytes: 0,
    delta: 0,
    attach() {
      count = words[BLOCK.regions];
      regions.bytes = 0;
    },
    find(low, high) {
      let into = (low - regions.low) | 0;
      if (high !== regions.high || into >>> 0 >= regions.bytes) {
        const index = below(low, high);
        if (index < 0) return false;
        const at = index * REGION.words;
        into = (low - table[at + REGION.low]) | 0;
        if (high !== table[at + REGION.high] || into >>> 0 >= table[at + REGION.bytes]) return false;
        regions.low = table[at + REGION.low];
        regions.high = high;
        regions.bytes = table[at + REGION.bytes];
        regions.window = table[at + REGION.window];
        regions.delta = (table[at + REGION.offset] - regions.low) | 0;
      }
      regions.offset = (low + regions.delta) | 0;
      regions.room = (regions.bytes - into) | 0;
      return true;
    },
  };
  return regions;
}
