/**
 * The arena: one shared address space in which frames, rings, registers and counters are offsets. Control half.
 * [0, 64 KiB) is never used, so that offset 0 means "none"; DMA memory lies in [64 KiB, 2 GiB), where every offset is
 * a non-negative int32; kernel rings and register windows lie above. See docs/adr/0001-arena.md.
 */
import { readFileSync } from 'node:fs';
import { type Native, syscallOf } from '../../native/index.ts';
import { ArenaError } from '../errors.ts';
import { Ranges } from './ranges.ts';
import { ARENA_MAX, reserve, WASM_PAGE, type WasmMemory } from './reserve.ts';

const PAGE = 4096;
const HUGE_PAGE = 2 * 1024 * 1024;
const DMA_END = 2 ** 31;
const HEAP_CHUNK = 1024 * 1024;
/** Small allocations start on cache lines of their own. */
const CACHE_LINE = 64;

/** Which part of the arena. */
export type Zone = 'dma' | 'window';

/** A page range with real memory mapped over it. */
export interface Segment {
  readonly offset: number;
  readonly length: number;
  readonly zone: Zone;
  /** The memfd, owned by the arena, or -1 when something else was mapped. */
  readonly fd: number;
  readonly huge: boolean;
}

/** How to reserve an arena. */
export interface ArenaOptions {
  /** Address space in bytes: a multiple of 64 KiB, 4 GiB if absent. */
  readonly bytes?: number;
}

/** How to map DMA memory. */
export interface MemoryOptions {
  /** `try`: 2 MiB pages if there are enough, else ordinary ones (`segment.huge` tells). `need`: or throw `NO_HUGEPAGES`. */
  readonly huge?: 'no' | 'try' | 'need';
  /** The offset is a multiple of this power of two. */
  readonly align?: number;
}

const roundUp = (n: number, unit: number): number => Math.ceil(n / unit) * unit;

function memoryAvailable(): number {
  const line = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'));
  return line === null ? Number.POSITIVE_INFINITY : Number(line[1]) * 1024;
}

/** One arena. Close it last: after the workers have left and the devices have stopped. */
export class Arena {
  /** Kept by the main thread until close: V8 unmaps the whole reservation when the last reference goes. */
  readonly wasm: WasmMemory;
  readonly memory: SharedArrayBuffer;
  readonly u8: Uint8Array;
  readonly native: Native;
  private readonly zones: Record<Zone, Ranges>;
  private readonly segments = new Map<number, Segment>();
  private readonly heaps: { segment: Segment; ranges: Ranges }[] = [];
  private open = true;

  constructor(native: Native, options: ArenaOptions = {}) {
    const bytes = options.bytes ?? ARENA_MAX;
    if (!Number.isInteger(bytes) || bytes < 4 * WASM_PAGE || bytes > ARENA_MAX || bytes % WASM_PAGE !== 0) {
      throw new ArenaError('BAD_ARENA_SIZE', {
        what: `arena of ${bytes} bytes`,
        why: 'an arena is a multiple of 65536 bytes, from 262144 to 4294967296',
        fix: 'leave arenaBytes out, or give such a number',
      });
    }
    this.native = native;
    this.wasm = reserve(bytes);
    this.memory = this.wasm.buffer;
    this.u8 = new Uint8Array(this.memory);
    const dmaEnd = Math.min(DMA_END, bytes / 2);
    this.zones = { dma: new Ranges('dma', WASM_PAGE, dmaEnd, PAGE), window: new Ranges('window', dmaEnd, bytes, PAGE) };
  }

  /** Maps new zeroed DMA memory: a sealed memfd, all of it present. Throws `NO_MEMORY`, `ARENA_FULL`, `NO_HUGEPAGES`. */
  mapMemory(bytes: number, options: MemoryOptions = {}): Segment {
    this.requireOpen();
    const huge = options.huge ?? 'no';
    if (huge !== 'no') {
      const segment = this.mapHuge(bytes, options, huge);
      if (segment !== undefined) return segment;
    }
    return this.mapPages(roundUp(bytes, PAGE), options.align ?? PAGE, 0, false);
  }

  private mapHuge(bytes: number, options: MemoryOptions, huge: 'try' | 'need'): Segment | undefined {
    // The reservation is only 64 KiB-aligned: a huge page starts where base + offset is 2 MiB-aligned.
    const remainder = HUGE_PAGE - this.native.addressRemainder(this.u8, HUGE_PAGE);
    try {
      return this.mapPages(roundUp(bytes, HUGE_PAGE), Math.max(HUGE_PAGE, options.align ?? 0), remainder, true);
    } catch (cause) {
      if (huge === 'try') return undefined;
      throw new ArenaError(
        'NO_HUGEPAGES',
        {
          what: `${bytes} bytes of 2 MiB pages`,
          why: (cause as Error).message,
          fix: `reserve them: echo ${Math.ceil(bytes / HUGE_PAGE)} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages, or do without: hugepages: 'try'`,
        },
        { cause },
      );
    }
  }

  private mapPages(length: number, align: number, remainder: number, huge: boolean): Segment {
    const available = memoryAvailable();
    if (!huge && length > available) throw noMemory(length, `only ${available} bytes of memory are available`);
    const offset = this.zones.dma.take(length, align, remainder % align);
    try {
      const fd = this.native.mapMemory(this.u8, offset, length, huge);
      return this.remember({ offset, length, zone: 'dma', fd, huge });
    } catch (cause) {
      this.zones.dma.give(offset);
      const failed = syscallOf(cause);
      throw noMemory(length, `${failed?.syscall ?? 'mapping'} failed (${(cause as Error).message})`, cause);
    }
  }

  /** Maps `length` bytes of `fd` at `fdOffset` (rings, registers) into the window zone. The fd stays the caller's. */
  mapFd(fd: number, fdOffset: number, length: number, options: { readonly writable: boolean }): Segment {
    this.requireOpen();
    const whole = roundUp(length, PAGE);
    const offset = this.zones.window.take(whole);
    try {
      this.native.mapFd(this.u8, offset, whole, fd, fdOffset, options.writable);
    } catch (cause) {
      this.zones.window.give(offset);
      const failed = syscallOf(cause);
      throw new ArenaError(
        'MAP_FAILED',
        {
          what: `mapping ${length} bytes of fd ${fd} at ${fdOffset}`,
          why: `${failed?.syscall ?? 'mmap'} failed (${(cause as Error).message})`,
          fix: 'check that the range exists in the file and that it was opened for this access',
        },
        { cause, detail: { fd, fdOffset, length } },
      );
    }
    return this.remember({ offset, length: whole, zone: 'window', fd: -1, huge: false });
  }

  /** Takes a segment out: anonymous memory over it, then its memfd is closed. Quiesce the device first. */
  unmap(segment: Segment): void {
    if (this.segments.get(segment.offset) !== segment) {
      throw new ArenaError('NOT_MAPPED', {
        what: `segment at ${segment.offset}`,
        why: 'it is not mapped in this arena, or was unmapped before',
        fix: 'unmap each segment once',
      });
    }
    this.segments.delete(segment.offset);
    this.native.unmap(this.u8, segment.offset, segment.length);
    if (segment.fd >= 0) this.native.close(segment.fd);
    this.zones[segment.zone].give(segment.offset);
  }

  /** Allocates `bytes` of zeroed DMA memory for rings and counters, on cache lines of its own. */
  allocate(bytes: number, align = CACHE_LINE): number {
    this.requireOpen();
    if (bytes <= HEAP_CHUNK / 4 && align <= PAGE) {
      for (const { ranges } of this.heaps) {
        const offset = ranges.tryTake(bytes, align);
        if (offset !== undefined) return this.zero(offset, bytes);
      }
    }
    const segment = this.mapMemory(Math.max(bytes, HEAP_CHUNK), { align: Math.max(align, PAGE) });
    const ranges = new Ranges('heap', segment.offset, segment.offset + segment.length, CACHE_LINE);
    this.heaps.push({ segment, ranges });
    return ranges.take(bytes, align);
  }

  /** Returns what `allocate` gave. An empty heap chunk is unmapped. */
  free(offset: number): void {
    const at = this.heaps.findIndex((h) => offset >= h.segment.offset && offset < h.segment.offset + h.segment.length);
    const heap = this.heaps[at];
    if (heap === undefined) {
      throw new ArenaError('NOT_ALLOCATED', {
        what: `arena offset ${offset}`,
        why: 'it is not in the heap',
        fix: 'free each allocation once, by the offset that it returned',
      });
    }
    heap.ranges.give(offset);
    if (heap.ranges.used > 0) return;
    this.heaps.splice(at, 1);
    this.unmap(heap.segment);
  }

  /** Segments that are mapped now. */
  mapped(): readonly Segment[] {
    return [...this.segments.values()];
  }

  /** Bytes in use by zone. */
  get used(): Record<Zone, number> {
    return { dma: this.zones.dma.used, window: this.zones.window.used };
  }

  /** Unmaps everything. Idempotent. Stale views read zeros afterwards. */
  close(): void {
    this.open = false;
    this.heaps.length = 0;
    for (const segment of this.mapped()) this.unmap(segment);
  }

  private zero(offset: number, bytes: number): number {
    this.u8.fill(0, offset, offset + bytes);
    return offset;
  }

  private remember(segment: Segment): Segment {
    this.segments.set(segment.offset, segment);
    return segment;
  }

  private requireOpen(): void {
    if (this.open) return;
    throw new ArenaError('ARENA_CLOSED', { what: 'arena', why: 'it has been closed', fix: 'open a new engine' });
  }
}

function noMemory(bytes: number, why: string, cause?: unknown): ArenaError {
  return new ArenaError(
    'NO_MEMORY',
    { what: `${bytes} bytes of frame or ring memory`, why, fix: 'ask for fewer or smaller frames, or free memory' },
    { cause, detail: { bytes } },
  );
}
