/**
 * The device's end of virtqueues, written from virtio 1.2 §2.7 (split) and §2.8 (packed) with literal offsets: nothing
 * here comes from the driver's tables. It looks at the driver's part each time it does anything, and notes what the
 * driver must not do.
 */

/** Where a virtqueue is. */
export interface Place {
  readonly size: number;
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
}

/** What was negotiated. */
export interface Negotiated {
  readonly eventIdx?: boolean;
  readonly inOrder?: boolean;
  readonly indirect?: boolean;
  /** Packed: false does not compare all available descriptors with what they were, each time. */
  readonly watchful?: boolean;
}

/** A piece of a buffer. */
export interface Part {
  readonly addr: number;
  readonly len: number;
  readonly write: boolean;
}

/** A buffer that the driver made available. */
export interface Taken {
  readonly id: number;
  readonly parts: readonly Part[];
}

/** What both kinds can do. */
export interface DeviceRing {
  readonly violations: string[];
  /** Takes the next buffer that the driver made available. */
  take(): Taken | undefined;
  /** Gives a buffer back, `len` bytes written. */
  use(id: number, len: number): void;
  /** Gives buffers back so that the driver sees all of them at once. */
  useTogether(buffers: readonly { readonly id: number; readonly len: number }[]): void;
  /** Gives buffers back, in the order in which they were taken, and tells of the last one alone (§2.7.9, §2.8.7). */
  useBatch(ids: readonly number[], len: number): void;
  /** Buffers available and not taken. */
  readonly waiting: number;
  /** Asks to be notified: always, never, or (EVENT_IDX) when the next buffer comes. */
  ask(how: 'always' | 'never' | 'next'): void;
  /** Whether the driver wants an interrupt for what was used since the last call. */
  interrupts(): boolean;
  /** Looks whether the driver has kept the rules since. */
  sample(): void;
}

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

/** A split virtqueue. */
export class SplitDeviceRing implements DeviceRing {
  readonly violations: string[] = [];
  /** Indices of the device, 16 bits. */
  availTaken = 0;
  usedIdx = 0;
  private usedTold = 0;
  private lastAvail = 0;
  private outstanding = 0;
  private readonly view: DataView;
  private readonly at: Place;
  private readonly negotiated: Negotiated;

  constructor(memory: SharedArrayBuffer, at: Place, negotiated: Negotiated = {}) {
    this.view = new DataView(memory);
    this.at = at;
    this.negotiated = negotiated;
    // §2.7: alignment of the three areas.
    if (at.desc % 16 !== 0 || at.driver % 2 !== 0 || at.device % 4 !== 0) this.violations.push('V14: misaligned');
  }

  get availIdx(): number {
    return this.view.getUint16(this.at.driver + 2, true);
  }

  get availFlags(): number {
    return this.view.getUint16(this.at.driver, true);
  }

  /** used_event: after the ring of the driver area. */
  get usedEvent(): number {
    return this.view.getUint16(this.at.driver + 4 + 2 * this.at.size, true);
  }

  get waiting(): number {
    this.sample();
    return (this.availIdx - this.availTaken) & 0xffff;
  }

  sample(): void {
    const idx = this.availIdx;
    const step = (idx - this.lastAvail) & 0xffff;
    if (this.outstanding + step > this.at.size)
      this.violations.push(`V24: avail idx went from ${this.lastAvail} to ${idx}`);
    this.outstanding += step;
    this.lastAvail = idx;
    const flags = this.availFlags;
    if (this.negotiated.eventIdx && flags !== 0) this.violations.push(`V26: avail flags are ${flags} with EVENT_IDX`);
    if (flags > 1) this.violations.push(`V25: avail flags are ${flags}`);
  }

  take(): Taken | undefined {
    if (this.waiting === 0) return undefined;
    const { size, driver } = this.at;
    const id = this.view.getUint16(driver + 4 + 2 * (this.availTaken % size), true);
    this.availTaken = (this.availTaken + 1) & 0xffff;
    return { id, parts: this.chain(id) };
  }

  private chain(head: number): Part[] {
    const { size, desc } = this.at;
    const parts: Part[] = [];
    for (let id = head; ; ) {
      if (id >= size) {
        this.violations.push(`a descriptor index of ${id} in a ring of ${size}`);
        return parts;
      }
      if (parts.length === size) {
        this.violations.push('V21: a chain longer than the ring, or a loop (V17)');
        return parts;
      }
      const d = desc + 16 * id;
      const flags = this.view.getUint16(d + 12, true);
      if ((flags & INDIRECT) !== 0) {
        if (!this.negotiated.indirect) this.violations.push('V19: INDIRECT was not negotiated');
        if ((flags & NEXT) !== 0) this.violations.push('V22: INDIRECT and NEXT together');
        return [...parts, ...this.indirectTable(d)];
      }
      const write = (flags & WRITE) !== 0;
      if (!write && parts.at(-1)?.write) this.violations.push('V15: a readable part after a writable one');
      parts.push({ addr: Number(this.view.getBigUint64(d, true)), len: this.view.getUint32(d + 8, true), write });
      if ((flags & NEXT) === 0) return parts;
      const next = this.view.getUint16(d + 14, true);
      if (this.negotiated.inOrder && next !== (id + 1) % size) this.violations.push('V18: next is not the next');
      id = next;
    }
  }

  /** The buffers of an indirect table, §2.7.5.3. */
  private indirectTable(d: number): Part[] {
    const table = Number(this.view.getBigUint64(d, true));
    const length = this.view.getUint32(d + 8, true);
    if (length === 0 || length % 16 !== 0) this.violations.push(`an indirect table of ${length} bytes`);
    const count = length / 16;
    if (count > this.at.size) this.violations.push('V21: a chain longer than the ring');
    const parts: Part[] = [];
    for (let i = 0; i < count; i++) {
      const at = table + 16 * i;
      const flags = this.view.getUint16(at + 12, true);
      const next = this.view.getUint16(at + 14, true);
      if ((flags & INDIRECT) !== 0) this.violations.push('V20: INDIRECT within an indirect table');
      if (((flags & NEXT) !== 0) !== i < count - 1) this.violations.push('an indirect table that ends elsewhere');
      if (i < count - 1 && next !== i + 1) this.violations.push(`V23: descriptor ${i} is followed by ${next}`);
      const [addr, len] = [Number(this.view.getBigUint64(at, true)), this.view.getUint32(at + 8, true)];
      parts.push({ addr, len, write: (flags & WRITE) !== 0 });
    }
    return parts;
  }

  use(id: number, len: number): void {
    this.put(id, len);
    this.advance(1);
  }

  useTogether(buffers: readonly { readonly id: number; readonly len: number }[]): void {
    for (const [i, { id, len }] of buffers.entries()) this.put(id, len, i);
    this.advance(buffers.length);
  }

  useBatch(ids: readonly number[], len: number): void {
    this.put(ids[ids.length - 1], len);
    this.advance(ids.length);
  }

  /** Writes the `ahead`th used element from the index on, without the index. */
  put(id: number, len: number, ahead = 0): void {
    const element = this.at.device + 4 + 8 * (((this.usedIdx + ahead) & 0xffff) % this.at.size);
    this.view.setUint32(element, id >>> 0, true);
    this.view.setUint32(element + 4, len >>> 0, true);
  }

  /** Moves the used index. */
  advance(by: number): void {
    this.sample();
    this.outstanding -= by;
    this.usedIdx = (this.usedIdx + by) & 0xffff;
    this.view.setUint16(this.at.device + 2, this.usedIdx, true);
  }

  ask(how: 'always' | 'never' | 'next'): void {
    if (this.negotiated.eventIdx) {
      const event = how === 'never' ? (this.availIdx - 1) & 0xffff : this.availIdx;
      this.view.setUint16(this.at.device + 4 + 8 * this.at.size, event, true);
    } else this.view.setUint16(this.at.device, how === 'never' ? 1 : 0, true);
  }

  interrupts(): boolean {
    const told = this.usedTold;
    const now = this.usedIdx;
    this.usedTold = now;
    if (told === now) return false;
    if (!this.negotiated.eventIdx) return (this.availFlags & 1) === 0;
    return ((now - this.usedEvent - 1) & 0xffff) < ((now - told) & 0xffff);
  }
}

const AVAIL = 1 << 7;
const USED = 1 << 15;

/** A packed virtqueue. */
export class PackedDeviceRing implements DeviceRing {
  readonly violations: string[] = [];
  /** The next slot to take from, and to use into, each with its wrap counter. */
  private takeAt = 0;
  private takeWrap = 1;
  private useAt = 0;
  private useWrap = 1;
  private usedSince = 0;
  private usedFrom = 0;
  private usedFromWrap = 1;
  /** Slots of buffers by id. */
  private readonly slots = new Map<number, number>();
  /** Descriptors that are available and not used: as they were when we first saw them. */
  private readonly seen = new Map<number, string>();
  private readonly view: DataView;
  private readonly at: Place;
  private readonly negotiated: Negotiated;

  constructor(memory: SharedArrayBuffer, at: Place, negotiated: Negotiated = {}) {
    this.view = new DataView(memory);
    this.at = at;
    this.negotiated = negotiated;
    if (at.desc % 16 !== 0 || at.driver % 4 !== 0 || at.device % 4 !== 0) this.violations.push('V34: misaligned');
  }

  private flags(slot: number): number {
    return this.view.getUint16(this.at.desc + 16 * slot + 14, true);
  }

  private isAvailable(slot: number, wrap: number): boolean {
    const flags = this.flags(slot);
    return ((flags & AVAIL) !== 0) === (wrap === 1) && ((flags & USED) !== 0) !== (wrap === 1);
  }

  private content(slot: number): string {
    const d = this.at.desc + 16 * slot;
    return `${this.view.getBigUint64(d, true)} ${this.view.getUint32(d + 8, true)} ${this.view.getUint32(d + 12, true)}`;
  }

  get waiting(): number {
    this.sample();
    let n = 0;
    for (let slot = this.takeAt, wrap = this.takeWrap; n < this.at.size && this.isAvailable(slot, wrap); n++) {
      if (++slot === this.at.size) [slot, wrap] = [0, wrap ^ 1];
    }
    return n;
  }

  sample(): void {
    if (this.negotiated.watchful === false) return;
    for (const [slot, before] of this.seen) {
      const now = this.content(slot);
      if (now !== before) this.violations.push(`V36: available descriptor ${slot} changed: ${before} → ${now}`);
    }
    let [slot, wrap] = [this.takeAt, this.takeWrap];
    for (let n = 0; n < this.at.size && this.isAvailable(slot, wrap); n++) {
      if (!this.seen.has(slot)) this.seen.set(slot, this.content(slot));
      if (++slot === this.at.size) [slot, wrap] = [0, wrap ^ 1];
    }
    if (this.seen.size > this.at.size) this.violations.push('V40: more descriptors than the ring has');
  }

  take(): Taken | undefined {
    this.sample();
    if (!this.isAvailable(this.takeAt, this.takeWrap)) return undefined;
    const slot = this.takeAt;
    const d = this.at.desc + 16 * slot;
    const flags = this.flags(slot);
    if ((flags & INDIRECT) !== 0 && !this.negotiated.indirect) this.violations.push('V42: INDIRECT was not negotiated');
    if ((flags & NEXT) !== 0) this.violations.push('this device knows no chains');
    if (++this.takeAt === this.at.size) [this.takeAt, this.takeWrap] = [0, this.takeWrap ^ 1];
    const id = this.view.getUint16(d + 12, true);
    if (this.slots.has(id)) this.violations.push(`buffer id ${id} is in use already`);
    this.slots.set(id, slot);
    const addr = Number(this.view.getBigUint64(d, true));
    const len = this.view.getUint32(d + 8, true);
    if ((flags & INDIRECT) === 0) return { id, parts: [{ addr, len, write: (flags & WRITE) !== 0 }] };
    if (len === 0 || len % 16 !== 0) this.violations.push(`an indirect table of ${len} bytes`);
    if (len / 16 > this.at.size) this.violations.push('V43: a list longer than the ring');
    return { id, parts: Array.from({ length: len / 16 }, (_, i) => this.indirectPart(addr + 16 * i)) };
  }

  /** A descriptor of an indirect table, in which only WRITE means something (§2.8.7). */
  private indirectPart(at: number): Part {
    const flags = this.view.getUint16(at + 14, true);
    if ((flags & ~WRITE) !== 0) this.violations.push(`V42: flags ${flags} in an indirect table`);
    const [addr, len] = [Number(this.view.getBigUint64(at, true)), this.view.getUint32(at + 8, true)];
    return { addr, len, write: (flags & WRITE) !== 0 };
  }

  useTogether(buffers: readonly { readonly id: number; readonly len: number }[]): void {
    this.sample();
    // The first one last: with it the driver sees them all.
    const steps = buffers.map(({ id, len }) => {
      const own = this.slots.get(id);
      this.slots.delete(id);
      this.seen.delete(this.useAt);
      if (own !== undefined) this.seen.delete(own);
      const step = { slot: this.useAt, wrap: this.useWrap, id, len };
      this.step();
      return step;
    });
    for (const { slot, id, len, wrap } of steps.reverse()) this.put(slot, id, len, wrap);
  }

  useBatch(ids: readonly number[], len: number): void {
    this.sample();
    const { slot, wrap } = this.nextUse;
    for (const id of ids) {
      this.slots.delete(id);
      this.seen.delete(this.useAt);
      this.step();
    }
    this.put(slot, ids[ids.length - 1], len, wrap);
  }

  use(id: number, len: number): void {
    this.sample();
    const own = this.slots.get(id);
    this.slots.delete(id);
    // The slot that is written is the next in order; the driver may write to that one again.
    this.seen.delete(this.useAt);
    if (own !== undefined && own !== this.useAt) this.seen.delete(own);
    this.put(this.useAt, id, len, this.useWrap);
    this.step();
  }

  /** Goes on to the next slot without writing anything. */
  step(): void {
    if (++this.useAt === this.at.size) [this.useAt, this.useWrap] = [0, this.useWrap ^ 1];
    this.usedSince++;
  }

  /** Writes a used descriptor: flags last. */
  put(slot: number, id: number, len: number, wrap: number): void {
    const d = this.at.desc + 16 * slot;
    this.view.setUint32(d + 8, len >>> 0, true);
    this.view.setUint16(d + 12, id & 0xffff, true);
    this.view.setUint16(d + 14, wrap === 1 ? AVAIL | USED : 0, true);
  }

  get nextUse(): { slot: number; wrap: number } {
    return { slot: this.useAt, wrap: this.useWrap };
  }

  ask(how: 'always' | 'never' | 'next'): void {
    const area = this.at.device;
    let [slot, wrap] = [this.takeAt, this.takeWrap];
    for (let n = this.waiting; n > 0; n--) if (++slot === this.at.size) [slot, wrap] = [0, wrap ^ 1];
    this.view.setUint16(area, slot | (wrap << 15), true);
    this.view.setUint16(area + 2, how === 'always' ? 0 : how === 'never' ? 1 : 2, true);
    if (how === 'next' && !this.negotiated.eventIdx) throw new Error('RING_EVENT_FLAGS_DESC needs EVENT_IDX');
  }

  interrupts(): boolean {
    const [n, from, fromWrap] = [this.usedSince, this.usedFrom, this.usedFromWrap];
    [this.usedSince, this.usedFrom, this.usedFromWrap] = [0, this.useAt, this.useWrap];
    if (n === 0) return false;
    const flags = this.view.getUint16(this.at.driver + 2, true);
    if (flags === 3) this.violations.push('reserved event flags');
    if (flags === 2 && !this.negotiated.eventIdx) this.violations.push('RING_EVENT_FLAGS_DESC without EVENT_IDX');
    if (flags !== 2) return flags === 0;
    const event = this.view.getUint16(this.at.driver, true);
    for (let i = 0, slot = from, wrap = fromWrap; i < n; i++) {
      if ((event & 0x7fff) === slot && event >>> 15 === wrap) return true;
      if (++slot === this.at.size) [slot, wrap] = [0, wrap ^ 1];
    }
    return false;
  }
}
