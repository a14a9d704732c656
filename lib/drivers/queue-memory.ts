/** The memory of a port's queues, which outlives the release of the driver that asked for it. Control half. */

/** Arena offsets of memory that a device sees, and of what it does not. Plain data. */
export interface QueueMemoryState {
  readonly shared: readonly number[];
  readonly own: readonly number[];
}

/** Whoever gives memory: a devio. */
interface Giver {
  allocateShared(bytes: number, align: number): number;
  freeShared(offset: number): void;
  allocate(bytes: number): number;
  free(offset: number): void;
}

/** All of it, to be freed at once. */
export class QueueMemory {
  private readonly giver: Giver;
  private readonly seen: number[] = [];
  private readonly own: number[] = [];

  constructor(giver: Giver) {
    this.giver = giver;
  }

  /** Memory that the device sees. Throws `NO_MEMORY`, `ADDRESS_REFUSED`. */
  allocateShared(bytes: number, align: number): number {
    const offset = this.giver.allocateShared(bytes, align);
    this.seen.push(offset);
    return offset;
  }

  /** Throws `NO_MEMORY`. */
  allocate(bytes: number): number {
    return this.keep(this.giver.allocate(bytes));
  }

  /** `offset`, which somebody else asked for, is freed with the rest. */
  keep(offset: number): number {
    this.own.push(offset);
    return offset;
  }

  handOver(): QueueMemoryState {
    return { shared: [...this.seen], own: [...this.own] };
  }

  takeOver({ shared, own }: QueueMemoryState): void {
    this.seen.push(...shared);
    this.own.push(...own);
  }

  free(): void {
    for (const offset of this.seen.splice(0)) this.giver.freeShared(offset);
    for (const offset of this.own.splice(0)) this.giver.free(offset);
  }
}
