/**
 * A guest's virtio-net driver, one virtqueue of it at a time, written from the specification (virtio 1.2 §2.7, §2.8,
 * §5.1.6) with offsets of its own. It checks what the device does as it samples the ring; each breach is an error that
 * names the rule. It does wrong only where it is told to.
 */
import type { GuestMemory } from './guest-memory.ts';

/** A buffer of a chain. Addresses and lengths may be anything that fits their fields. */
export interface Piece {
  readonly gpa: number | bigint;
  readonly length: number;
  readonly writable?: boolean;
}

/** A chain that the device has. */
export interface Chain {
  readonly pieces: readonly Piece[];
  /** Bytes that the device must not change, with their content. */
  readonly before: readonly (Uint8Array | undefined)[];
  /** Free descriptors that it takes. */
  readonly taken: readonly number[];
}

/** A chain that the device has given back. */
export interface Used {
  readonly chain: Chain;
  readonly length: number;
}

/** What was negotiated. */
export interface DriverOptions {
  readonly size: number;
  readonly eventIdx?: boolean;
  readonly mergeable?: boolean;
  readonly indirect?: boolean;
  /** The device may tell of several buffers by the last of them. */
  readonly inOrder?: boolean;
  /** Split: false does not compare the descriptor table with what it was, each time. */
  readonly watchful?: boolean;
}

const HEADER = 12;

/** The bytes of a buffer that the device may only read, when it is in memory. */
function readableBytes(memory: GuestMemory, { gpa, length, writable }: Piece): Uint8Array | undefined {
  if (writable || typeof gpa === 'bigint' || length === 0 || length > 20_000) return undefined;
  const inside = memory.place(gpa) && memory.place(gpa + length - 1);
  return inside === undefined ? undefined : memory.read(gpa, length);
}

/** How a chain is made available: see `Driver.add`. */
export interface AddOptions {
  readonly indirect?: number;
  /** Guest address of the table. */
  readonly table?: number;
  /** WRITE on the descriptor of the table, where it means nothing. */
  readonly write?: boolean;
}

/**
 * Chains that are told of by `id`: with `inOrder` all up to that one in the order in which they were made available
 * (§2.7.9, §2.8.7).
 */
function batchOf<C extends Chain>(chains: Map<number, C>, id: number, inOrder: boolean, section: string): C[] {
  const last = chains.get(id);
  if (last === undefined) throw new Error(`used id ${id} is not in flight (§${section})`);
  const batch: C[] = [];
  for (const [of, chain] of inOrder ? chains : [[id, last] as const]) {
    batch.push(chain);
    chains.delete(of);
    if (of === id) break;
  }
  return batch;
}

/** Bytes that the device wrote to a chain before the last of a batch: it was used up (§2.7.9, §2.8.7). */
const roomOf = ({ pieces }: Chain): number =>
  pieces.filter(({ writable }) => writable).reduce((sum, piece) => sum + piece.length, 0);

/** The driver's side of one virtqueue. */
export interface Driver {
  readonly memory: GuestMemory;
  readonly size: number;
  /** Guest addresses of the three areas. */
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  /** Free descriptors. */
  readonly free: number;
  /** Makes a chain available. `indirect`: that many of its last pieces are in a table (-1: all). */
  add(pieces: readonly Piece[], options?: AddOptions): void;
  /** Chains that the device has given back since. Throws what it did wrong. */
  reap(): Used[];
  /** Chains that the device has. */
  readonly outstanding: number;
  /** How many used elements or descriptors there were so far. */
  readonly batches: number;
  /** True when the device asks to be notified of what was added since the last call. */
  mustNotify(): boolean;
  /** Asks for interrupts, or for none. With EVENT_IDX: `at` more used buffers from now. */
  wantInterrupt(on: boolean, after?: number): void;
}

/** A split virtqueue. */
export class SplitDriver implements Driver {
  readonly memory: GuestMemory;
  readonly size: number;
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  /** Indices, free-running: what we have made available, what of it was notified, what we have seen used. */
  availIdx: number;
  private notified: number;
  usedIdx: number;
  batches = 0;
  private readonly eventIdx: boolean;
  private readonly inOrder: boolean;
  private readonly watchful: boolean;
  private readonly freeList: number[];
  private readonly chains = new Map<number, Chain>();
  private table: Uint8Array;

  constructor(memory: GuestMemory, options: DriverOptions, at = 0) {
    const { size } = options;
    this.memory = memory;
    this.size = size;
    this.eventIdx = options.eventIdx ?? false;
    this.inOrder = options.inOrder ?? false;
    this.watchful = options.watchful ?? true;
    this.desc = memory.allocate(16 * size, 16);
    this.driver = memory.allocate(6 + 2 * size, 2);
    this.device = memory.allocate(6 + 8 * size, 4);
    this.freeList = Array.from({ length: size }, (_, i) => i);
    this.availIdx = this.notified = this.usedIdx = at;
    memory.put16(this.driver + 2, at);
    memory.put16(this.device + 2, at);
    this.table = memory.read(this.desc, 16 * size);
  }

  get free(): number {
    return this.freeList.length;
  }

  get outstanding(): number {
    return this.chains.size;
  }

  /** Writes descriptor `i` of the table at `table`: le64 addr, le32 len, le16 flags, le16 next. */
  putDescriptor(table: number, i: number, piece: Piece, flags: number, next: number): void {
    const { memory } = this;
    const at = table + 16 * i;
    memory.put64(at, piece.gpa);
    memory.put32(at + 8, piece.length);
    memory.put16(at + 12, flags | (piece.writable ? 2 : 0));
    memory.put16(at + 14, next);
  }

  add(pieces: readonly Piece[], { indirect = 0, table, write = false }: AddOptions = {}): void {
    const inTable = indirect < 0 ? pieces.length : indirect;
    const direct = pieces.slice(0, pieces.length - inTable);
    const taken = this.freeList.splice(0, direct.length + (inTable > 0 ? 1 : 0));
    if (taken.length === 0 || taken.length < direct.length + (inTable > 0 ? 1 : 0)) throw new Error('ring is full');
    direct.forEach((piece, i) => {
      const last = i === taken.length - 1;
      this.putDescriptor(this.desc, taken[i], piece, last ? 0 : 1, last ? 0 : taken[i + 1]);
    });
    if (inTable > 0) {
      const rest = pieces.slice(direct.length);
      const at = table ?? this.memory.allocate(16 * inTable, 16);
      rest.forEach((piece, i) => {
        this.putDescriptor(at, i, piece, i < inTable - 1 ? 1 : 0, i < inTable - 1 ? i + 1 : 0);
      });
      this.putDescriptor(this.desc, taken[direct.length], { gpa: at, length: 16 * inTable }, write ? 6 : 4, 0);
    }
    this.chains.set(taken[0], { pieces, taken, before: pieces.map((piece) => readableBytes(this.memory, piece)) });
    this.learn();
    this.offer(taken[0]);
  }

  /** What the descriptor table holds now is what it should hold: somebody wrote to it on purpose. */
  learn(): void {
    if (this.watchful) this.table = this.memory.read(this.desc, 16 * this.size);
  }

  /** Makes `head` available, whatever it is. */
  offer(head: number): void {
    this.memory.put16(this.driver + 4 + 2 * (this.availIdx % this.size), head);
    this.availIdx = (this.availIdx + 1) & 0xffff;
    this.memory.put16(this.driver + 2, this.availIdx);
  }

  reap(): Used[] {
    const { memory, size } = this;
    const found: Used[] = [];
    const idx = memory.get16(this.device + 2);
    const n = (idx - this.usedIdx) & 0xffff;
    if (n > this.chains.size) throw new Error(`used idx goes on by ${n} of ${this.chains.size} buffers (§2.7.8)`);
    this.checkFlags();
    const table = this.watchful ? memory.read(this.desc, 16 * size) : this.table;
    if (Buffer.compare(table, this.table) !== 0) throw new Error('the device wrote to the descriptor table (§2.7.5.1)');
    while (this.usedIdx !== idx) {
      const element = this.device + 4 + 8 * (this.usedIdx % size);
      const batch = batchOf(this.chains, memory.get32(element), this.inOrder, '2.7.8');
      if (batch.length > ((idx - this.usedIdx) & 0xffff)) throw new Error('a batch goes beyond the used idx (§2.7.9)');
      this.batches++;
      batch.forEach((chain, i) => {
        const length = i < batch.length - 1 ? roomOf(chain) : memory.get32(element + 4);
        checkChain(memory, chain, length);
        this.freeList.push(...chain.taken);
        found.push({ chain, length });
      });
      this.usedIdx = (this.usedIdx + batch.length) & 0xffff;
    }
    return found;
  }

  private checkFlags(): void {
    const flags = this.memory.get16(this.device);
    if (flags > 1) throw new Error(`used flags ${flags} (§2.7.10.2)`);
    if (this.eventIdx && flags !== 0) throw new Error(`used flags ${flags} with EVENT_IDX (§2.7.10.2)`);
  }

  mustNotify(): boolean {
    const { memory, size } = this;
    const from = this.notified;
    this.notified = this.availIdx;
    if (!this.eventIdx) return (memory.get16(this.device) & 1) === 0 && from !== this.availIdx;
    const event = memory.get16(this.device + 4 + 8 * size);
    return ((this.availIdx - event - 1) & 0xffff) < ((this.availIdx - from) & 0xffff);
  }

  wantInterrupt(on: boolean, after = 1): void {
    const { memory, size } = this;
    if (!this.eventIdx) memory.put16(this.driver, on ? 0 : 1);
    else memory.put16(this.driver + 4 + 2 * size, on ? this.usedIdx + after - 1 : this.usedIdx - 1);
  }
}

/** A packed virtqueue (§2.8). Ids are the driver's own numbers, not positions. */
export class PackedDriver implements Driver {
  readonly memory: GuestMemory;
  readonly size: number;
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  /** Where the next descriptor goes, and where the next used one is looked for; with their wrap counters. */
  next = 0;
  wrap = 1;
  private usedNext = 0;
  private usedWrap = 1;
  private notifiedNext = 0;
  private added = 0;
  batches = 0;
  private readonly eventIdx: boolean;
  private readonly inOrder: boolean;
  private readonly ids: number[];
  private readonly chains = new Map<number, Chain & { slots: number; id: number }>();
  private freeSlots: number;

  constructor(memory: GuestMemory, options: DriverOptions) {
    const { size } = options;
    this.memory = memory;
    this.size = size;
    this.eventIdx = options.eventIdx ?? false;
    this.inOrder = options.inOrder ?? false;
    this.desc = memory.allocate(16 * size, 16);
    this.driver = memory.allocate(4, 4);
    this.device = memory.allocate(4, 4);
    // Back to front: an id is not a position.
    this.ids = Array.from({ length: size }, (_, i) => size - 1 - i);
    this.freeSlots = size;
  }

  get free(): number {
    return this.freeSlots;
  }

  get outstanding(): number {
    return this.chains.size;
  }

  /** le64 addr, le32 len, le16 id, le16 flags. */
  putDescriptor(at: number, piece: Piece, id: number, flags: number): void {
    const { memory } = this;
    memory.put64(at, piece.gpa);
    memory.put32(at + 8, piece.length);
    memory.put16(at + 12, id);
    memory.put16(at + 14, flags);
  }

  add(pieces: readonly Piece[], { indirect = 0, table, write = false }: AddOptions = {}): void {
    // A table stands alone (§2.8.19): all of them, or none.
    const slots = indirect === 0 ? pieces.length : 1;
    if (slots > this.freeSlots) throw new Error('ring is full');
    const id = this.ids.shift();
    if (id === undefined) throw new Error('no id is free');
    let ringPieces = pieces;
    let more = 0;
    if (indirect !== 0) {
      const at = table ?? this.memory.allocate(16 * pieces.length, 16);
      pieces.forEach((piece, i) => {
        this.putDescriptor(at + 16 * i, piece, 0, piece.writable ? 2 : 0);
      });
      ringPieces = [{ gpa: at, length: 16 * pieces.length }];
      more = write ? 6 : 4;
    }
    const before = pieces.map((piece) => readableBytes(this.memory, piece));
    this.chains.set(id, { pieces, taken: [], slots, id, before });
    this.put(ringPieces, id, more);
  }

  /** Puts descriptors into the ring, the first one last (§2.8.17). */
  put(pieces: readonly Piece[], id: number, more = 0, last = 0): void {
    let at = this.next;
    let wrap = this.wrap;
    const steps = pieces.map((piece, i) => {
      const flags = more | (piece.writable ? 2 : 0) | (i < pieces.length - 1 ? 1 : last) | this.available(wrap);
      const step = { at: this.desc + 16 * at, piece, flags };
      at++;
      if (at === this.size) {
        at = 0;
        wrap ^= 1;
      }
      return step;
    });
    for (const step of steps.reverse()) this.putDescriptor(step.at, step.piece, id, step.flags);
    this.next = at;
    this.wrap = wrap;
    this.added += pieces.length;
    this.freeSlots -= pieces.length;
  }

  /** AVAIL as the wrap counter, USED as its inverse (§2.8.1). */
  available = (wrap: number): number => (wrap << 7) | ((wrap ^ 1) << 15);

  reap(): Used[] {
    const { memory } = this;
    const found: Used[] = [];
    for (;;) {
      const at = this.desc + 16 * this.usedNext;
      const flags = memory.get16(at + 14);
      const avail = (flags >> 7) & 1;
      const used = (flags >> 15) & 1;
      if (this.chains.size === 0 || avail !== used || used !== this.usedWrap) return found;
      const batch = batchOf(this.chains, memory.get16(at + 12), this.inOrder, '2.8.6');
      this.batches++;
      batch.forEach((chain, i) => {
        // Without WRITE the length means nothing (§2.8.5).
        const told = (flags & 2) !== 0 ? memory.get32(at + 8) : 0;
        const length = i < batch.length - 1 ? roomOf(chain) : told;
        checkChain(memory, chain, length);
        this.ids.push(chain.id);
        this.freeSlots += chain.slots;
        this.usedNext += chain.slots;
        found.push({ chain, length });
      });
      if (this.usedNext >= this.size) {
        this.usedNext -= this.size;
        this.usedWrap ^= 1;
      }
    }
  }

  mustNotify(): boolean {
    const { memory, size } = this;
    const n = this.added;
    this.added = 0;
    const from = this.notifiedNext;
    this.notifiedNext = this.next;
    const flags = memory.get16(this.device + 2);
    if (flags > (this.eventIdx ? 2 : 1)) throw new Error(`event flags ${flags} (§2.8.10)`);
    if (flags < 2 || n === 0) return flags === 0 && n > 0;
    const event = memory.get16(this.device);
    // Was the descriptor at the event's position, with that wrap counter, among those just added?
    for (let i = 0, at = from; i < n; i++, at = (at + 1) % size) {
      const wrap = at < this.next ? this.wrap : this.wrap ^ 1;
      if (at === (event & 0x7fff) && wrap === event >> 15) return true;
    }
    return false;
  }

  wantInterrupt(on: boolean, after = 1): void {
    const { memory, size } = this;
    let flags = on ? 0 : 1;
    if (on && this.eventIdx) {
      const at = this.usedNext + after - 1;
      const wrap = at >= size ? this.usedWrap ^ 1 : this.usedWrap;
      memory.put16(this.driver, (at % size) | (wrap << 15));
      flags = 2;
    }
    memory.put16(this.driver + 2, flags);
  }
}

/** What a device may have done to the buffers of a chain that it used with `length` bytes written. */
function checkChain(memory: GuestMemory, chain: Chain, length: number): void {
  const { pieces, before } = chain;
  const room = roomOf(chain);
  if (length > room) throw new Error(`used len ${length} of a buffer with ${room} writable bytes (§2.7.8.2)`);
  before.forEach((bytes, i) => {
    if (bytes === undefined) return;
    const now = memory.read(Number(pieces[i].gpa), bytes.length);
    if (Buffer.compare(now, bytes) !== 0)
      throw new Error('the device wrote to a buffer that it may only read (§2.7.5.1)');
  });
}

/** Bytes that the device wrote to a chain, `length` of them. */
function written(memory: GuestMemory, { chain, length }: Used): Uint8Array {
  const bytes: number[] = [];
  for (const { gpa, length: size, writable } of chain.pieces) {
    if (writable) bytes.push(...memory.read(Number(gpa), Math.min(size, length - bytes.length)));
  }
  return Uint8Array.from(bytes);
}

/**
 * The packets in used receive buffers, headers checked (§5.1.6.4.1). Buffers with nothing in them came back unused.
 */
export function packetsOf(memory: GuestMemory, used: readonly Used[], mergeable: boolean): Uint8Array[] {
  const packets: Uint8Array[] = [];
  for (let i = 0; i < used.length; ) {
    if (used[i].length === 0) {
      i++;
      continue;
    }
    const first = written(memory, used[i]);
    const view = new DataView(first.buffer);
    if (first.length < HEADER) throw new Error('a receive buffer without a header');
    for (let at = 0; at < 10; at++) {
      if (first[at] !== 0) throw new Error(`byte ${at} of the header is ${first[at]} (§5.1.6.4.1)`);
    }
    const buffers = view.getUint16(10, true);
    if (!mergeable && buffers !== 1) throw new Error(`num_buffers ${buffers} without MRG_RXBUF (§5.1.6.4.1)`);
    if (buffers < 1 || i + buffers > used.length)
      throw new Error(`num_buffers ${buffers}: not published together (§5.1.6.4.1)`);
    const parts = used.slice(i, i + buffers);
    parts.slice(0, -1).forEach(({ chain, length }) => {
      const room = chain.pieces.reduce((sum, piece) => sum + piece.length, 0);
      if (length !== room) throw new Error(`buffer of ${room} bytes with ${length}, and more in the next (§5.1.6.4.1)`);
    });
    packets.push(Uint8Array.from(parts.flatMap((part) => [...written(memory, part)]).slice(HEADER)));
    i += buffers;
  }
  return packets;
}

/** A packet with a header of zeros before it. */
export function withHeader(packet: Uint8Array, header: Uint8Array = new Uint8Array(HEADER)): Uint8Array {
  return Uint8Array.from([...header, ...packet]);
}

/** Puts `bytes` into buffers of the `sizes` given, the rest into a last one; returns them as a chain. */
export function scatterBytes(memory: GuestMemory, bytes: Uint8Array, sizes: readonly number[], skew = 0): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  for (const size of [...sizes, bytes.length]) {
    const length = Math.min(size, bytes.length - at);
    if (length === 0) break;
    const gpa = memory.allocate(length, 16, skew);
    memory.write(gpa, bytes.subarray(at, at + length));
    pieces.push({ gpa, length });
    at += length;
  }
  return pieces;
}
