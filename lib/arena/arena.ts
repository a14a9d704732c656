/**
 * The arena: one shared address space in which frames, rings, registers and counters are offsets. Control half.
 * [0, 64 KiB) is never used, so that offset 0 means "none"; DMA memory lies in [64 KiB, 2 GiB), where every offset is
 * a non-negative int32; kernel rings and register windows lie above. See docs/adr/0001-arena.md.
 */
import { type Native, syscallOf } from '../../native/index.ts';
import { ArenaError, type ErrorDetail } from '../errors.ts';
import { memoryAvailable } from './available.ts';
import { memoryRefused, noHugePages, noMemory, reasonOf } from './failures.ts';
import { Heap } from './heap.ts';
import { checkSize, Ranges } from './ranges.ts';
import { ARENA_MAX, reserve, WASM_PAGE, type WasmMemory } from './reserve.ts';

const PAGE = 4096;
const HUGE_PAGE = 2 * 1024 * 1024;
const DMA_END = 2 ** 31;

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

/** A part of a device's registers that may be mapped. */
export interface Area {
  /** From the first register, in bytes: whole pages. */
  readonly at: number;
  readonly length: number;
  /** Where it is in the file. */
  readonly fdOffset: number;
}

/** Part of a segment that may vanish, and the addon's guard of it. */
interface Guarded {
  readonly offset: number;
  readonly length: number;
  readonly guard: number;
}

const roundUp = (n: number, unit: number): number => Math.ceil(n / unit) * unit;

/** One arena. Close it last: after the workers have left and the devices have stopped. */
export class Arena {
  /** Kept by the main thread until close: V8 unmaps the whole reservation when the last reference goes. */
  readonly wasm: WasmMemory;
  readonly memory: SharedArrayBuffer;
  readonly u8: Uint8Array;
  readonly native: Native;
  private readonly zones: Record<Zone, Ranges>;
  private readonly segments = new Map<number, Segment>();
  private readonly guarded = new Map<Segment, readonly Guarded[]>();
  private readonly heap: Heap;
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
    this.heap = new Heap({
      map: (length, align) => this.mapMemory(length, { align }),
      unmap: (segment) => this.unmap(segment),
      zero: (offset, length) => this.u8.fill(0, offset, offset + length),
    });
  }

  /**
   * Maps new zeroed DMA memory: a sealed memfd, all of it present. Throws `NO_MEMORY`, `FILE_SIZE_LIMIT`, `ARENA_FULL`,
   * `NO_HUGEPAGES`, `BAD_SIZE`.
   */
  mapMemory(bytes: number, options: MemoryOptions = {}): Segment {
    this.requireOpen();
    const { huge = 'no', align = PAGE } = options;
    checkSize(bytes, align);
    if (huge === 'need') return this.mapHuge(bytes, align);
    if (huge === 'try') {
      try {
        return this.mapHuge(bytes, align);
      } catch (error) {
        // Ordinary pages do as well, only slower; if even those are missing, the error is about them.
        if (!(error instanceof ArenaError)) throw error;
      }
    }
    const available = memoryAvailable();
    if (bytes > available) throw noMemory(bytes, `only ${available} bytes of memory are available`);
    try {
      return this.mapPages(roundUp(bytes, PAGE), align, 0, false);
    } catch (cause) {
      throw syscallOf(cause) === undefined ? cause : memoryRefused(bytes, cause);
    }
  }

  private mapHuge(bytes: number, align: number): Segment {
    // The reservation is only 64 KiB-aligned: a huge page starts where base + offset is 2 MiB-aligned.
    const remainder = (HUGE_PAGE - this.native.addressRemainder(this.u8, HUGE_PAGE)) % HUGE_PAGE;
    const length = roundUp(bytes, HUGE_PAGE);
    if (remainder % align !== 0)
      throw noHugePages(length / HUGE_PAGE, `in this arena none starts at a multiple of ${align}`);
    try {
      return this.mapPages(length, Math.max(HUGE_PAGE, align), remainder, true);
    } catch (cause) {
      throw syscallOf(cause) === undefined ? cause : noHugePages(length / HUGE_PAGE, reasonOf(cause), cause);
    }
  }

  private mapPages(length: number, align: number, remainder: number, huge: boolean): Segment {
    const offset = this.zones.dma.take(length, align, remainder);
    try {
      const fd = this.native.mapMemory(this.u8, offset, length, huge);
      return this.remember({ offset, length, zone: 'dma', fd, huge });
    } catch (error) {
      this.zones.dma.give(offset);
      throw error;
    }
  }

  /**
   * Maps `length` bytes of `fd` at `fdOffset` (rings, registers) into the window zone. The fd stays the caller's. A write
   * to what is not `writable` ends the process. Throws `MAP_FAILED`, `ARENA_FULL`, `BAD_SIZE`.
   */
  mapFd(fd: number, fdOffset: number, length: number, options: { readonly writable: boolean }): Segment {
    this.requireOpen();
    checkSize(length, PAGE);
    const whole = roundUp(length, PAGE);
    const offset = this.zones.window.take(whole);
    try {
      this.native.mapFd(this.u8, offset, whole, fd, fdOffset, options.writable);
    } catch (cause) {
      this.zones.window.give(offset);
      const fix =
        'check that the range begins on a page and exists in the file, and that it was opened for this access';
      throw mapFailed(`mapping ${length} bytes of fd ${fd} at ${fdOffset}`, cause, fix, { fd, fdOffset, length });
    }
    return this.remember({ offset, length: whole, zone: 'window', fd: -1, huge: false });
  }

  /**
   * Maps `areas` of a device's registers, `bytes` altogether, into the window zone; what lies between them reads zeros. The
   * fd stays the caller's. When the device is pulled, they read ones: see `vanished`. Throws `MAP_FAILED`, `ARENA_FULL`,
   * `BAD_SIZE`.
   */
  mapRegisters(fd: number, bytes: number, areas: readonly Area[]): Segment {
    this.requireOpen();
    checkSize(bytes, PAGE);
    const length = roundUp(bytes, PAGE);
    const segment = { offset: this.zones.window.take(length), length, zone: 'window', fd: -1, huge: false } as const;
    const guarded: Guarded[] = [];
    try {
      for (const area of areas) {
        const part = { offset: segment.offset + area.at, length: roundUp(area.length, PAGE) };
        checkInside(segment, part);
        const guard = this.native.mapPeer(this.u8, part.offset, part.length, fd, area.fdOffset, true);
        guarded.push({ ...part, guard });
      }
    } catch (cause) {
      this.release(guarded);
      this.zones.window.give(segment.offset);
      throw mapFailed(`mapping ${bytes} bytes of registers of fd ${fd}`, cause, 'check that the device is still there');
    }
    this.guarded.set(segment, guarded);
    return this.remember(segment);
  }

  /** Whether registers were used when they were not there any more. */
  vanished(segment: Segment): boolean {
    return (this.guarded.get(segment) ?? []).some(({ guard }) => this.native.peerFaulted(guard));
  }

  private release(guarded: readonly Guarded[]): void {
    for (const { offset, length, guard } of guarded) this.native.unmapPeer(this.u8, offset, length, guard);
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
    try {
      this.release(this.guarded.get(segment) ?? []);
      this.guarded.delete(segment);
      this.native.unmap(this.u8, segment.offset, segment.length);
      // Only now: what could not be unmapped must not be given to anybody else.
      this.zones[segment.zone].give(segment.offset);
    } finally {
      if (segment.fd >= 0) this.native.close(segment.fd);
    }
  }

  /** Allocates `bytes` of zeroed DMA memory for rings and counters, on cache lines of its own. Throws as `mapMemory`. */
  allocate(bytes: number, align?: number): number {
    this.requireOpen();
    return this.heap.allocate(bytes, align);
  }

  /** Returns what `allocate` gave. Throws `NOT_ALLOCATED`. */
  free(offset: number): void {
    this.heap.free(offset);
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
    this.heap.clear();
    const errors: unknown[] = [];
    for (const segment of this.mapped()) {
      try {
        this.unmap(segment);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
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

function mapFailed(what: string, cause: unknown, fix: string, detail: ErrorDetail = {}): ArenaError {
  return new ArenaError('MAP_FAILED', { what, why: reasonOf(cause), fix }, { cause, detail });
}

function checkInside(segment: Segment, part: { readonly offset: number; readonly length: number }): void {
  if (part.offset >= segment.offset && part.offset + part.length <= segment.offset + segment.length) return;
  throw new RangeError(`an area ends outside of the ${segment.length} bytes that there are`);
}
