/** First-fit allocator of address ranges: which units of a zone are taken. Control half; touches no memory. */
import { ArenaError } from '../errors.ts';

interface Gap {
  start: number;
  end: number;
}

/** Hands out ranges of [start, end) in whole `unit`s (a power of two). */
export class Ranges {
  readonly name: string;
  readonly unit: number;
  private readonly gaps: Gap[];
  private readonly taken = new Map<number, number>();

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
    return [...this.taken.values()].reduce((a, b) => a + b, 0);
  }

  /** Length of the range that starts at `offset`, or undefined when none does. */
  lengthAt(offset: number): number | undefined {
    return this.taken.get(offset);
  }

  /**
   * Takes `bytes`, rounded up to whole units, at an offset that is `remainder` modulo `align` (a power of two).
   * Returns undefined when there is no room.
   */
  tryTake(bytes: number, align = this.unit, remainder = 0): number | undefined {
    const length = Math.ceil(bytes / this.unit) * this.unit;
    for (const [i, gap] of this.gaps.entries()) {
      const start = gap.start + ((((remainder - gap.start) % align) + align) % align);
      if (start + length > gap.end) continue;
      const rest = [{ start: gap.start, end: start }, { start: start + length, end: gap.end }];
      this.gaps.splice(i, 1, ...rest.filter((g) => g.end > g.start));
      this.taken.set(start, length);
      return start;
    }
    return undefined;
  }

  /** As `tryTake`, but throws `ARENA_FULL`. */
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
    const at = this.gaps.findIndex((g) => g.start > offset);
    this.gaps.splice(at < 0 ? this.gaps.length : at, 0, { start: offset, end: offset + length });
    this.merge();
  }

  private merge(): void {
    for (let i = this.gaps.length - 1; i > 0; i--) {
      if (this.gaps[i - 1].end !== this.gaps[i].start) continue;
      this.gaps[i - 1].end = this.gaps[i].end;
      this.gaps.splice(i, 1);
    }
  }
}
