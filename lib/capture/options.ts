/** Options of pcapng blocks, draft-ietf-opsawg-pcapng §3.5: found by code when reading, appended when writing. */
import { OPTION } from './format.ts';

/** Where a block's options are, and what to throw when they are malformed. */
export interface OptionArea {
  readonly view: DataView;
  readonly start: number;
  readonly end: number;
  readonly little: boolean;
  bad(why: string): Error;
}

/**
 * Returns where the value of the first option with `code` starts (its length is in the two bytes before it), or -1.
 * `length` is the only one that the option may have. An area without end marker ends where its block does.
 */
export function findOption(area: OptionArea, code: number, length?: number): number {
  const { view, end, little } = area;
  let at = area.start;
  while (at < end) {
    const type = view.getUint16(at, little);
    const size = view.getUint16(at + 2, little);
    if (type === OPTION.end) return -1;
    const next = at + 4 + ((size + 3) & ~3);
    if (next > end) throw area.bad(`option ${type} of the block there has ${size} bytes, more than are left`);
    if (type === code) {
      if (length !== undefined && size !== length)
        throw area.bad(`option ${type} of the block there has ${size} bytes, not ${length}`);
      return at + 4;
    }
    at = next;
  }
  return -1;
}
