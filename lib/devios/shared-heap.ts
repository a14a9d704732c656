/** Arena memory that a device sees: rings, in segments of their own, each of which is shown to the device whole. Control half. */
import type { Arena, Segment } from '../arena/arena.ts';
import { Heap } from '../arena/heap.ts';
import { LinecardError } from '../errors.ts';

/** Nothing is shown of it: what a device writes behind the end of a segment is found out where there is an IOMMU. */
const GAP = 4096;
/** How many places are tried, when the device cannot have the first. */
const PLACES = 16;

/** Shows a segment to the device, and takes it away again. `show` may throw: `ADDRESS_REFUSED` means that of that place. */
export interface Viewer {
  show(segment: Segment): void;
  hide(segment: Segment): void;
}

/** A heap whose segments a device sees. */
export class SharedHeap {
  private readonly arena: Arena;
  private readonly viewer: Viewer;
  private readonly heap: Heap;
  private readonly huge: 'no' | 'need';
  /** What is shown, and what is mapped. */
  private readonly shown = new Map<Segment, Segment>();

  /** `huge`: see `MemoryOptions`. */
  constructor(arena: Arena, viewer: Viewer, huge: 'no' | 'need' = 'no') {
    this.arena = arena;
    this.huge = huge;
    this.viewer = viewer;
    this.heap = new Heap({
      map: (bytes, align) => this.map(bytes, align),
      unmap: (segment) => this.unmap(segment),
      zero: (offset, bytes) => arena.u8.fill(0, offset, offset + bytes),
    });
  }

  /** Zeroed memory that the device sees. Throws as `Arena.mapMemory`, and as `show`. */
  allocate(bytes: number, align: number): number {
    return this.heap.allocate(bytes, align);
  }

  /** Returns what `allocate` gave. Throws `NOT_ALLOCATED`. */
  free(offset: number): void {
    this.heap.free(offset);
  }

  /** The segments that the device sees. */
  segments(): Segment[] {
    return [...this.shown.keys()];
  }

  /** Takes all of it away from the device and gives it back. Idempotent. */
  close(): void {
    this.heap.clear();
    const errors: unknown[] = [];
    for (const segment of this.segments()) {
      try {
        this.unmap(segment);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  private map(bytes: number, align: number): Segment {
    const unsuitable: Segment[] = [];
    try {
      for (;;) {
        const mapped = this.arena.mapMemory(bytes + GAP, { align, huge: this.huge });
        const segment = { ...mapped, length: mapped.length - GAP };
        try {
          this.viewer.show(segment);
        } catch (error) {
          unsuitable.push(mapped);
          const elsewhere = error instanceof LinecardError && error.code === 'ADDRESS_REFUSED';
          if (!elsewhere || unsuitable.length >= PLACES) throw error;
          continue;
        }
        this.shown.set(segment, mapped);
        return segment;
      }
    } finally {
      // Not before: the next place would be the same.
      for (const mapped of unsuitable) this.arena.unmap(mapped);
    }
  }

  private unmap(segment: Segment): void {
    const mapped = this.shown.get(segment);
    if (mapped === undefined) return;
    this.shown.delete(segment);
    // If it cannot be taken away, it is not given to anybody else.
    this.viewer.hide(segment);
    this.arena.unmap(mapped);
  }
}
