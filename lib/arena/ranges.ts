/** First-fit allocator of address ranges: which units of a zone are taken. Control half; touches no memory. */
import { ArenaError } from '../errors.ts';

interface Gap {
  start: number;
  end: number;
}

/** Throws `BAD_SIZE` unless `bytes` is a size and `align` a power of two. */
export function checkSize(bytes: number, align: number): void {
  const bad = (what: string, why: string, fix: string) => {
    throw new ArenaError('BAD_SIZE', { what, why, fix }, { detail: { bytes, align } });
  };
  if (!Number.isSafeInteger(bytes) || bytes <= 0) bad(`${bytes} bytes`, 'it is no size', 'ask for one byte or more');
  // Not by masks: an alignment may be 2^31 and more.
  if (!Number.isSafeInteger(align) || align < 1 || !Number.isInteger(Math.log2(align))) {
    bad(`alignment ${align}`, 'it is no power of two', 'use 64, 4096 …');
  }
}

/** Hands out ranges of [start, end) in whole `unit`s (a power of two); start and end are multiples of it. */
export class Ranges {
  readonly name: string;
  readonly unit: number;
  /** In the order of addresses, and never two that touch. */
  private readonly gaps: Gap[];
  private readonly taken = new Map<number, number>();
  private takenBytes = 0;

  constructor(name: string, start: number, end: number, unit: number) {
    this.name = name;
    this.unit = unit;
    this.gaps = end > start ? [{ start, end }] : [];
  }

  /** Bytes that are free, and in the largest piece. */
  get free(): { total: number; largest: number } {
    const sizes = this.gaps.map((g) => g.end - g.start);
    return { total: sizes.reduce((a, b) => a + b, 0), largest: Math.max(0, ...sizes) };
  }

  /** Bytes that are taken. */
  get used(): number {
    return this.takenBytes;
  }

  /**
   * Takes `bytes`, rounded up to whole units, at an offset that is `remainder` (a multiple of the unit) modulo `align`
   * (a power of two). Returns undefined when there is no room. Throws `BAD_SIZE`.
   */
  tryTake(bytes: number, align = this.unit, remainder = 0): number | undefined {
    checkSize(bytes, align);
    const length = Math.ceil(bytes / this.unit) * this.unit;
    for (const [i, gap] of this.gaps.entries()) {
      const start = gap.start + ((((remainder - gap.start) % align) + align) % align);
      if (start + length > gap.end) continue;
      const rest = [
        { start: gap.start, end: start },
        { start: start + length, end: gap.end },
      ];
      this.gaps.splice(i, 1, ...rest.filter((g) => g.end > g.start));
      this.taken.set(start, length);
      this.takenBytes += length;
      return start;
    }
    return undefined;
  }

  /** As `tryTake`, but throws `ARENA_FULL` when there is no room. */
  take(bytes: number, align?: number, remainder?: number): number {
    const offset = this.tryTake(bytes, align, remainder);
    if (offset !== undefined) return offset;
    const { total, largest } = this.free;
    throw new ArenaError(
      'ARENA_FULL',
      {
        what: `arena zone ${this.name}: ${bytes} bytes`,
        why: `${total} bytes are free, ${largest} of them in one piece`,
        fix: 'ask for fewer or smaller frames and rings',
      },
      { detail: { zone: this.name, bytes, free: total, largest } },
    );
  }

  /** Gives the range back that starts at `offset`. Throws `NOT_ALLOCATED` when none does. */
  give(offset: number): void {
    const length = this.taken.get(offset);
    if (length === undefined) {
      throw new ArenaError('NOT_ALLOCATED', {
        what: `arena zone ${this.name}: range at ${offset}`,
        why: 'it is not allocated, or was freed before',
        fix: 'free each range once, by the offset that the allocation returned',
      });
    }
    this.taken.delete(offset);
    this.takenBytes -= length;
    const at = this.gaps.findIndex((g) => g.start > offset);
    const place = at < 0 ? this.gaps.length : at;
    this.gaps.splice(place, 0, { start: offset, end: offset + length });
    this.join(place + 1);
    this.join(place);
  }

  /** Makes gap `i` and the one before it one, if they touch. */
  private join(i: number): void {
    const before = this.gaps[i - 1];
    const gap = this.gaps[i];
    if (before === undefined || gap === undefined || before.end !== gap.start) return;
    before.end = gap.end;
    this.gaps.splice(i, 1);
  }
}
