/** A guest's memory in windows, by guest address; and what of it nobody may touch. */

/** A piece of a guest's memory, and where it lies in a window. */
export interface GuestRegion {
  readonly gpa: number;
  readonly bytes: number;
  readonly window: number;
  readonly offset: number;
}

const CANARY = 0xc5;

/** Memory of a guest. What is not in a region, or was not given out by `allocate`, holds canaries. */
export class GuestMemory {
  readonly regions: readonly GuestRegion[];
  readonly windows: readonly SharedArrayBuffer[];
  private readonly bytes: readonly Uint8Array[];
  private readonly views: readonly DataView[];
  /** Ranges that were given out, in order. */
  private readonly given: { gpa: number; bytes: number }[] = [];
  private next: number;

  constructor(regions: readonly GuestRegion[], windowBytes = 4 << 20) {
    this.regions = regions;
    const count = Math.max(...regions.map(({ window }) => window)) + 1;
    this.windows = Array.from({ length: count }, () => new SharedArrayBuffer(windowBytes));
    this.bytes = this.windows.map((window) => new Uint8Array(window).fill(CANARY));
    this.views = this.windows.map((window) => new DataView(window));
    this.next = regions[0].gpa;
  }

  /** Where a guest address is, or undefined. */
  place(gpa: number): { window: number; offset: number } | undefined {
    const region = this.regionOf(gpa, 1);
    return region === undefined ? undefined : { window: region.window, offset: region.offset + (gpa - region.gpa) };
  }

  /** The region that all of `bytes` bytes from `gpa` lie in, or undefined. */
  private regionOf(gpa: number, bytes: number): GuestRegion | undefined {
    for (const r of this.regions) if (gpa >= r.gpa && gpa + bytes <= r.gpa + r.bytes) return r;
    return undefined;
  }

  /** Gives out `bytes` at a multiple of `align` plus `skew`, with canaries around them. */
  allocate(bytes: number, align = 16, skew = 0): number {
    const gpa = Math.ceil((this.next + 32) / align) * align + skew;
    if (this.place(gpa) === undefined || this.place(gpa + bytes + 32) === undefined) throw new Error('guest is full');
    this.next = gpa + bytes;
    return this.give(gpa, bytes);
  }

  /** Gives out the bytes at `gpa`, zeroed. */
  give(gpa: number, bytes: number): number {
    this.given.push({ gpa, bytes });
    this.write(gpa, new Uint8Array(bytes));
    return gpa;
  }

  /** All of a region is given out, as it is. */
  claim({ gpa, bytes }: GuestRegion): void {
    this.given.push({ gpa, bytes });
  }

  get8(gpa: number): number {
    const place = this.place(gpa);
    if (place === undefined) throw new Error(`the guest has nothing at ${gpa}`);
    return this.bytes[place.window][place.offset];
  }

  put8(gpa: number, value: number): void {
    const place = this.place(gpa);
    if (place === undefined) throw new Error(`the guest has nothing at ${gpa}`);
    this.bytes[place.window][place.offset] = value;
  }

  get16(gpa: number): number {
    const r = this.regionOf(gpa, 2);
    if (r === undefined) return this.get8(gpa) | (this.get8(gpa + 1) << 8);
    return this.views[r.window].getUint16(r.offset + (gpa - r.gpa), true);
  }

  get32(gpa: number): number {
    return (this.get16(gpa) | (this.get16(gpa + 2) << 16)) >>> 0;
  }

  put16(gpa: number, value: number): void {
    const r = this.regionOf(gpa, 2);
    if (r !== undefined) this.views[r.window].setUint16(r.offset + (gpa - r.gpa), value, true);
    else {
      this.put8(gpa, value & 0xff);
      this.put8(gpa + 1, (value >>> 8) & 0xff);
    }
  }

  put32(gpa: number, value: number): void {
    this.put16(gpa, value & 0xffff);
    this.put16(gpa + 2, value >>> 16);
  }

  /** Addresses above 2^53 cannot be numbers: they come as bigints. */
  put64(gpa: number, value: number | bigint): void {
    const wide = BigInt(value);
    this.put32(gpa, Number(wide & 0xffff_ffffn));
    this.put32(gpa + 4, Number((wide >> 32n) & 0xffff_ffffn));
  }

  read(gpa: number, length: number): Uint8Array {
    const r = this.regionOf(gpa, length);
    if (r === undefined) return Uint8Array.from({ length }, (_, i) => this.get8(gpa + i));
    const at = r.offset + (gpa - r.gpa);
    return this.bytes[r.window].slice(at, at + length);
  }

  write(gpa: number, bytes: Uint8Array): void {
    const r = this.regionOf(gpa, bytes.length);
    if (r !== undefined) this.bytes[r.window].set(bytes, r.offset + (gpa - r.gpa));
    else for (const [i, byte] of bytes.entries()) this.put8(gpa + i, byte);
  }

  /** Addresses (window and offset) that hold something else than a canary though nobody was given them. */
  damage(): string[] {
    const copies = this.bytes.map((bytes) => Uint8Array.from(bytes));
    for (const { gpa, bytes } of this.given) {
      for (const region of this.regions) {
        const from = Math.max(gpa, region.gpa);
        const to = Math.min(gpa + bytes, region.gpa + region.bytes);
        const at = region.offset - region.gpa;
        if (from < to) copies[region.window].fill(CANARY, at + from, at + to);
      }
    }
    const found: string[] = [];
    for (const [window, bytes] of copies.entries()) {
      if (Buffer.compare(bytes, Buffer.alloc(bytes.length, CANARY)) === 0) continue;
      for (const [offset, byte] of bytes.entries()) if (byte !== CANARY) found.push(`${window}:${offset}`);
    }
    return found;
  }
}
