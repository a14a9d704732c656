/** Memory that a device reaches by physical addresses: frames, and rings that lie in one piece. Control half. */
import type { Arena, Segment } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import { DevioError } from '../errors.ts';
import { HUGE_PAGE, type PhysicalMemory } from '../pci/physical.ts';
import type { DeviceMemory } from './function-devio.ts';
import { SharedHeap } from './shared-heap.ts';

/** A word of a 64-bit address. */
const WORD = 0xffff_ffffn;

/** The table of the frames' addresses: one for all devices of an engine, as long as there are any. */
export class FrameAddresses {
  private readonly arena: Arena;
  private readonly frames: FramePool;
  private readonly physical: PhysicalMemory;
  private table = 0;
  private users = 0;

  constructor(arena: Arena, frames: FramePool, physical: PhysicalMemory) {
    this.arena = arena;
    this.frames = frames;
    this.physical = physical;
  }

  /** Arena offset of the table (see `PciDevio.frameAddresses`). To be given back as often. Throws as `PhysicalMemory`, `NO_MEMORY`. */
  take(): number {
    if (this.users === 0) this.table = this.make();
    this.users++;
    return this.table;
  }

  give(): void {
    if (--this.users > 0) return;
    this.arena.free(this.table);
    this.table = 0;
  }

  private make(): number {
    const { segment, plan } = this.frames;
    const pages = this.physical.pages(segment);
    const table = this.arena.allocate(plan.count * 8);
    const words = new Uint32Array(this.arena.memory, table, plan.count * 2);
    // Frames are powers of two, and aligned: none lies across two pages.
    for (let i = 0; i < plan.count; i++) {
      const at = plan.base + i * plan.frameSize - segment.offset;
      const address = pages[Math.floor(at / HUGE_PAGE)]! + BigInt(at % HUGE_PAGE);
      words[i * 2] = Number(address & WORD);
      words[i * 2 + 1] = Number(address >> 32n);
    }
    return table;
  }
}

/** Addresses of rings: each segment in huge pages that follow each other. */
export class PhysicalDeviceMemory implements DeviceMemory {
  readonly frameAddresses: number;
  readonly pinned = false;
  private readonly addresses: FrameAddresses;
  private readonly heap: SharedHeap;
  private readonly starts = new Map<number, { readonly end: number; readonly address: bigint }>();
  private open = true;

  /** Throws as `FrameAddresses.take`. */
  constructor(arena: Arena, physical: PhysicalMemory, addresses: FrameAddresses) {
    this.addresses = addresses;
    const viewer = {
      show: (segment: Segment) => this.show(segment, physical),
      hide: ({ offset }: Segment) => void this.starts.delete(offset),
    };
    this.heap = new SharedHeap(arena, viewer, 'need');
    this.frameAddresses = addresses.take();
  }

  private show(segment: Segment, physical: PhysicalMemory): void {
    const pages = physical.pages(segment);
    const first = pages[0]!;
    if (pages.some((page, i) => page !== first + BigInt(i * HUGE_PAGE))) {
      throw new DevioError('ADDRESS_REFUSED', {
        what: `${segment.length} bytes in one piece for a device`,
        why: 'the huge pages that there are do not follow each other in physical memory',
        fix: 'ask for shorter rings (what is below 2 MiB always fits), or reserve huge pages at boot: hugepages=N',
      });
    }
    this.starts.set(segment.offset, { end: segment.offset + segment.length, address: first });
  }

  allocate(bytes: number, align: number): number {
    return this.heap.allocate(bytes, align);
  }

  free(offset: number): void {
    this.heap.free(offset);
  }

  addressOf(offset: number): bigint {
    for (const [start, { end, address }] of this.starts) {
      if (offset >= start && offset < end) return address + BigInt(offset - start);
    }
    throw new DevioError('ADDRESS_REFUSED', {
      what: `arena offset ${offset}`,
      why: 'no device sees it',
      fix: 'ask for addresses of what allocateShared gave',
    });
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    this.heap.close();
    this.addresses.give();
  }
}
