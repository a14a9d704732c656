/**
 * Typed tables of device registers: a field is a number that knows its width and direction, so that what the datasheet
 * forbids does not compile, and what contradicts itself does not load.
 */
import { LayoutError } from './errors.ts';

export type Width = 8 | 16 | 32 | 64;
export type Access = 'ro' | 'rw' | 'wo';

declare const tag: unique symbol;

/** A register: its byte offset, branded with its width in bits and its direction. At run time a number. */
export type Field<W extends Width, A extends Access> = number & { readonly [tag]: readonly [W, A] };
/** A register that may be read, or written, in one access of `W` bits. */
export type Readable<W extends Width> = Field<W, 'ro'> | Field<W, 'rw'>;
export type Writable<W extends Width> = Field<W, 'rw'> | Field<W, 'wo'>;

/** A register in a table. */
export interface Spec<W extends Width, A extends Access> {
  readonly offset: number;
  readonly width: W;
  readonly access: A;
}

/** `count` registers, `stride` bytes apart, as in "RDT[n] 0x2818 + 0x100 * n (n = 0 … 1)". */
export interface BankSpec<W extends Width, A extends Access> {
  readonly count: number;
  readonly stride: number;
  readonly first: Spec<W, A>;
}

type AnySpec = Spec<Width, Access> | BankSpec<Width, Access>;

/** What `layout` makes of a table: fields, and for banks a function from the number to the field. */
export type Fields<T extends Record<string, AnySpec>> = {
  readonly [K in keyof T]: T[K] extends Spec<infer W, infer A>
    ? Field<W, A>
    : T[K] extends BankSpec<infer W, infer A>
      ? (n: number) => Field<W, A>
      : never;
};

const spec =
  <W extends Width, A extends Access>(width: W, access: A) =>
  (offset: number): Spec<W, A> => ({ offset, width, access });

export const ro8 = spec(8, 'ro');
export const ro16 = spec(16, 'ro');
export const ro32 = spec(32, 'ro');
export const ro64 = spec(64, 'ro');
export const rw8 = spec(8, 'rw');
export const rw16 = spec(16, 'rw');
export const rw32 = spec(32, 'rw');
export const rw64 = spec(64, 'rw');
export const wo8 = spec(8, 'wo');
export const wo16 = spec(16, 'wo');
export const wo32 = spec(32, 'wo');
export const wo64 = spec(64, 'wo');

/** A bank of registers. */
export const bank = <W extends Width, A extends Access>(
  count: number,
  stride: number,
  first: Spec<W, A>,
): BankSpec<W, A> => ({ count, stride, first });

interface Extent {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

const isBank = (entry: AnySpec): entry is BankSpec<Width, Access> => 'first' in entry;

/** The bytes that an entry takes; a bank may have others' registers between its own. */
function extents(name: string, entry: AnySpec): Extent[] {
  const { offset, width } = isBank(entry) ? entry.first : entry;
  const one = (n: number, start: number) => ({ name: n < 0 ? name : `${name}[${n}]`, start, end: start + width / 8 });
  if (!isBank(entry)) return [one(-1, offset)];
  return Array.from({ length: entry.count }, (_, n) => one(n, offset + n * entry.stride));
}

function check(table: string, size: number, entries: Record<string, AnySpec>): void {
  const refuse = (name: string, why: string): never => {
    throw new LayoutError('BAD_LAYOUT', { what: `${table}.${name}`, why, fix: 'compare the table with the datasheet' });
  };
  const all = Object.entries(entries).flatMap(([name, entry]) => extents(name, entry));
  for (const { name, start, end } of all) {
    // A 64-bit register is accessed as two of 32 bits.
    if (!Number.isInteger(start) || start < 0 || start % Math.min(end - start, 4) !== 0)
      refuse(name, 'it is not aligned');
    if (end > size) refuse(name, `it ends at ${end}, and there are ${size} bytes`);
  }
  const sorted = all.toSorted((a, b) => a.start - b.start);
  for (const [i, { name, start }] of sorted.entries()) {
    const before = sorted[i - 1];
    if (before !== undefined && before.end > start) refuse(name, `it overlaps ${before.name}`);
  }
}

/**
 * Makes the fields of `table`, having checked that registers are aligned, do not overlap and lie in `size` bytes. `name`
 * is for messages. Throws LayoutError `BAD_LAYOUT`.
 */
export function layout<const T extends Record<string, AnySpec>>(name: string, size: number, table: T): Fields<T> {
  check(name, size, table);
  const fieldOf = (entry: AnySpec) =>
    isBank(entry) ? (n: number) => entry.first.offset + n * entry.stride : entry.offset;
  return Object.fromEntries(Object.entries(table).map(([key, entry]) => [key, fieldOf(entry)])) as Fields<T>;
}

/**
 * Device registers in the arena. Each access is one load or store of the register's width: by typed arrays, because V8's
 * unoptimised DataView goes byte by byte, which a device would see. Little-endian hosts only, as PCI is. Control half.
 */
export class Registers {
  private readonly u8: Uint8Array;
  private readonly u16: Uint16Array;
  private readonly u32: Uint32Array;

  /** `length` bytes at arena offset `offset`, a multiple of 8. */
  constructor(memory: SharedArrayBuffer, offset: number, length: number) {
    this.u8 = new Uint8Array(memory, offset, length);
    this.u16 = new Uint16Array(memory, offset, length >>> 1);
    this.u32 = new Uint32Array(memory, offset, length >>> 2);
  }

  get8(field: Readable<8>): number {
    return this.u8[this.within(field, this.u8)]!;
  }

  get16(field: Readable<16>): number {
    return this.u16[this.within(field / 2, this.u16)]!;
  }

  get32(field: Readable<32>): number {
    return this.u32[this.within(field / 4, this.u32)]!;
  }

  /** Two accesses, low half first: not atomic. */
  get64(field: Readable<64>): bigint {
    const at = this.within(field / 4 + 1, this.u32) - 1;
    const low = this.u32[at]!;
    return (BigInt(this.u32[at + 1]!) << 32n) | BigInt(low);
  }

  put8(field: Writable<8>, value: number): void {
    this.u8[this.within(field, this.u8)] = value;
  }

  put16(field: Writable<16>, value: number): void {
    this.u16[this.within(field / 2, this.u16)] = value;
  }

  put32(field: Writable<32>, value: number): void {
    this.u32[this.within(field / 4, this.u32)] = value;
  }

  /** Two accesses, low half first. */
  put64(field: Writable<64>, value: bigint): void {
    const at = this.within(field / 4 + 1, this.u32) - 1;
    this.u32[at] = Number(value & 0xffff_ffffn);
    this.u32[at + 1] = Number(value >> 32n);
  }

  /** What lies outside is not silently another register, nor nothing. */
  private within(index: number, view: { readonly length: number }): number {
    if (index < view.length) return index;
    throw new LayoutError('OUTSIDE_WINDOW', {
      what: `register ${index} of ${view.length}`,
      why: 'the window that the device gives is smaller than its table',
      fix: 'check the device before its registers are used',
    });
  }
}
