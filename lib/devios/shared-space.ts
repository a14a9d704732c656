/** The engine's address space: what functions behind an IOMMU see of memory, all of them the same. Control half. */
import type { Arena } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import { doAll, doAllQuietly } from '../do-all.ts';
import type { AddressSpace, OpenedFunction } from '../vfio/addresses.ts';
import type { VfioPlace } from '../vfio/container.ts';
import { FaultLog } from '../vfio/faults.ts';
import type { DeviceMemory } from './function-devio.ts';
import { SharedHeap } from './shared-heap.ts';

/** A function in the engine's address space. */
export interface Taken {
  readonly space: AddressSpace;
  readonly fd: number;
  readonly faults: FaultLog | undefined;
  /** Takes the frames from the functions, if no others are there. Before its file is closed: without functions there may be no IOMMU. */
  readonly forget: () => void;
  /** After its file was closed. */
  readonly leave: () => void;
}

interface Current {
  readonly space: AddressSpace;
  readonly faults: FaultLog | undefined;
  users: number;
}

/**
 * The engine's address space, as long as there are functions in it. All share the frames, so these are mapped (and their
 * memory locked) once, and each function sees what each other's rings are in, too: they are all this engine's.
 */
export class SharedSpace {
  private readonly arena: Arena;
  private readonly frames: FramePool;
  private readonly place: VfioPlace;
  private readonly make: () => AddressSpace;
  private current: Current | undefined;

  constructor(arena: Arena, frames: FramePool, place: VfioPlace, make: () => AddressSpace) {
    this.arena = arena;
    this.frames = frames;
    this.place = place;
    this.make = make;
  }

  /** Opens a function; the frames are mapped then. `leave` undoes it. Throws as the space's `open` and `map`. */
  take(address: string, group: number): Taken {
    const { kernel } = this.place;
    this.current ??= { space: this.make(), faults: FaultLog.open(kernel), users: 0 };
    const { current } = this;
    const { space, faults } = current;
    current.users++;
    let opened: OpenedFunction | undefined;
    const forget = () => {
      if (current.users === 1) space.unmap(this.frames.segment.offset, this.frames.segment.length);
    };
    const leave = () => doAll([() => opened?.leave(), () => this.drop(current)]);
    try {
      opened = space.open(address, group);
      if (current.users === 1) space.map(this.frames.segment.offset, this.framesBytes());
      return { space, fd: opened.fd, faults, forget, leave };
    } catch (error) {
      // The mappings go with the space.
      doAllQuietly([() => opened !== undefined && kernel.close(opened.fd), leave]);
      throw error;
    }
  }

  private framesBytes(): Uint8Array {
    const { offset, length } = this.frames.segment;
    return this.arena.u8.subarray(offset, offset + length);
  }

  private drop(current: Current): void {
    if (--current.users > 0) return;
    this.current = undefined;
    doAll([() => current.faults?.close(), () => current.space.close()]);
  }
}

/** Rings, at addresses that are arena offsets. */
export class MappedMemory implements DeviceMemory {
  /** An arena offset is the address. */
  readonly frameAddresses = 0;
  readonly pinned = true;
  private readonly heap: SharedHeap;
  private readonly forget: () => void;

  constructor(arena: Arena, { space, forget }: Taken) {
    this.forget = forget;
    this.heap = new SharedHeap(arena, {
      show: ({ offset, length }) => space.map(offset, arena.u8.subarray(offset, offset + length)),
      hide: ({ offset, length }) => space.unmap(offset, length),
    });
  }

  allocate(bytes: number, align: number): number {
    return this.heap.allocate(bytes, align);
  }

  free(offset: number): void {
    this.heap.free(offset);
  }

  addressOf(offset: number): bigint {
    return BigInt(offset);
  }

  close(): void {
    doAll([() => this.heap.close(), this.forget]);
  }
}
