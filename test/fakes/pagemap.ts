/** A process's page table as `/proc/self/pagemap` shows it, and an arena whose huge pages any machine has. */
import { onTestFinished } from 'vitest';
import { Arena } from '../../lib/arena/arena.ts';
import { HUGE_PAGE, type Pagemap } from '../../lib/pci/physical.ts';
import { loadNative, type Native } from '../../native/index.ts';

const PER_HUGE = HUGE_PAGE / 4096;

/** Every page is present: virtual huge page `n` lies in physical huge page `placeOf(n)`. `change` may spoil an entry. */
export function fakePagemap(
  placeOf: (n: number) => number,
  change: (entry: bigint, page: number) => bigint = (entry) => entry,
): Pagemap {
  return (bytes, position) => {
    const page = position / 8;
    const frame = BigInt(placeOf(Math.floor(page / PER_HUGE)) * PER_HUGE + (page % PER_HUGE));
    new DataView(bytes.buffer).setBigUint64(0, change(frame | (1n << 63n), page), true);
    return bytes.length;
  };
}

const native = loadNative();

/** What says "huge" of ordinary pages. */
export const pretending: Native = {
  ...native,
  mapMemory: (arena, offset, length) => native.mapMemory(arena, offset, length, false),
};

/** An arena of them, and its address. */
export function hugeArena(): { readonly arena: Arena; readonly base: number } {
  const arena = new Arena(pretending);
  onTestFinished(() => arena.close());
  return { arena, base: native.addressRemainder(arena.u8, 2 ** 47) };
}
