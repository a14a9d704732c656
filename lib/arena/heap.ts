/** Small allocations out of larger segments: rings, counters, control blocks. Control half. */
import { ArenaError } from '../errors.ts';
import type { Segment } from './arena.ts';
import { checkSize, Ranges } from './ranges.ts';

const PAGE = 4096;
const CHUNK = 1024 * 1024;
/** Allocations start on cache lines of their own. */
const CACHE_LINE = 64;

/** Where a heap's memory comes from. */
export interface ChunkSource {
  map(bytes: number, align: number): Segment;
  unmap(segment: Segment): void;
  zero(offset: number, bytes: number): void;
}

interface Chunk {
  readonly segment: Segment;
  readonly ranges: Ranges;
}

/** A heap. What it gives is zeroed; a chunk in which nothing is left is unmapped. */
export class Heap {
  private readonly source: ChunkSource;
  private readonly chunks: Chunk[] = [];

  constructor(source: ChunkSource) {
    this.source = source;
  }

  /** Allocates `bytes` at a multiple of `align`, and of a cache line. */
  allocate(bytes: number, align = CACHE_LINE): number {
    checkSize(bytes, align);
    for (const { ranges } of this.chunks) {
      const offset = ranges.tryTake(bytes, Math.max(align, CACHE_LINE));
      if (offset === undefined) continue;
      this.source.zero(offset, bytes);
      return offset;
    }
    const segment = this.source.map(Math.max(bytes, CHUNK), Math.max(align, PAGE));
    const ranges = new Ranges('heap', segment.offset, segment.offset + segment.length, CACHE_LINE);
    this.chunks.push({ segment, ranges });
    return ranges.take(bytes, Math.max(align, CACHE_LINE));
  }

  /** Returns what `allocate` gave. Throws `NOT_ALLOCATED`. */
  free(offset: number): void {
    const at = this.chunks.findIndex(({ segment: s }) => offset >= s.offset && offset < s.offset + s.length);
    const chunk = this.chunks[at];
    if (chunk === undefined) {
      throw new ArenaError('NOT_ALLOCATED', {
        what: `arena offset ${offset}`,
        why: 'it is not in the heap',
        fix: 'free each allocation once, by the offset that it returned',
      });
    }
    chunk.ranges.give(offset);
    if (chunk.ranges.used > 0) return;
    this.chunks.splice(at, 1);
    this.source.unmap(chunk.segment);
  }

  /** Forgets everything: whoever maps the chunks unmaps them. */
  clear(): void {
    this.chunks.length = 0;
  }
}
