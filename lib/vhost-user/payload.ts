/** Payloads of vhost-user messages: bytes to values and back, every field at its full width. */

import { LIMIT, RING_PAYLOAD, type Shape } from './protocol.ts';
import { refusal } from './refusal.ts';

/** A piece of the front end's memory. */
export interface Region {
  /** Guest physical address of its first byte. */
  readonly gpa: bigint;
  readonly bytes: bigint;
  /** The front end's own address of it. */
  readonly uva: bigint;
  /** Where in the file it begins. */
  readonly offset: bigint;
}

/** What a payload of each shape says. */
export interface Payloads {
  readonly none: undefined;
  readonly u64: bigint;
  readonly state: { readonly index: number; readonly num: number };
  readonly address: {
    readonly index: number;
    readonly flags: number;
    readonly desc: bigint;
    readonly used: bigint;
    readonly avail: bigint;
    readonly log: bigint;
  };
  readonly table: readonly Region[];
  readonly region: Region;
  readonly log: { readonly bytes: bigint; readonly offset: bigint };
  readonly config: {
    readonly offset: number;
    readonly size: number;
    readonly flags: number;
    readonly bytes: Uint8Array;
  };
  readonly inflight: {
    readonly bytes: bigint;
    readonly offset: bigint;
    readonly queues: number;
    readonly queueSize: number;
  };
  readonly ring: { readonly index: number; readonly hasFd: boolean };
}

const REGION_BYTES = 32;
const TABLE_HEAD = 8;
const CONFIG_HEAD = 12;
/** The struct's fields have 20 bytes; as C pads it, which everybody sends, it has 24. */
const INFLIGHT_BYTES = 24;
const INFLIGHT_PACKED = 20;

/** Whether a payload of this shape may have `size` bytes. */
const FITS: Readonly<Record<Shape, (size: number) => boolean>> = {
  none: (size) => size === 0,
  u64: (size) => size === 8,
  state: (size) => size === 8,
  address: (size) => size === 40,
  table: (size) =>
    size > TABLE_HEAD &&
    size <= TABLE_HEAD + LIMIT.tableRegions * REGION_BYTES &&
    (size - TABLE_HEAD) % REGION_BYTES === 0,
  region: (size) => size === 8 + REGION_BYTES,
  log: (size) => size === 16,
  config: (size) => size >= CONFIG_HEAD && size <= CONFIG_HEAD + LIMIT.configBytes,
  inflight: (size) => size === INFLIGHT_BYTES || size === INFLIGHT_PACKED,
  ring: (size) => size === 8,
};

/** True when a payload of `shape` may have `size` bytes. */
export const fits = (shape: Shape, size: number): boolean => FITS[shape](size);

function regionAt(view: DataView, at: number): Region {
  const u64 = (offset: number): bigint => view.getBigUint64(at + offset, true);
  return { gpa: u64(0), bytes: u64(8), uva: u64(16), offset: u64(24) };
}

function putRegion(view: DataView, at: number, { gpa, bytes, uva, offset }: Region): void {
  for (const [i, value] of [gpa, bytes, uva, offset].entries()) view.setBigUint64(at + i * 8, value, true);
}

function tableOf(view: DataView): Region[] {
  const count = view.getUint32(0, true);
  const room = (view.byteLength - TABLE_HEAD) / REGION_BYTES;
  if (count !== room) throw refusal('SET_MEM_TABLE', `it says ${count} regions and has ${room}`);
  if (view.getUint32(4, true) !== 0) throw refusal('SET_MEM_TABLE', 'its padding is not 0');
  return Array.from({ length: count }, (_, i) => regionAt(view, TABLE_HEAD + i * REGION_BYTES));
}

function ringOf(value: bigint): Payloads['ring'] {
  const { indexMask, noFd } = RING_PAYLOAD;
  if ((value & ~(indexMask | noFd)) !== 0n) throw refusal('SET_VRING_…', `bits above 8 are set in ${value}`);
  return { index: Number(value & indexMask), hasFd: (value & noFd) === 0n };
}

const DECODE: { readonly [S in Shape]: (view: DataView) => Payloads[S] } = {
  none: () => undefined,
  u64: (view) => view.getBigUint64(0, true),
  state: (view) => ({ index: view.getUint32(0, true), num: view.getUint32(4, true) }),
  address: (view) => ({
    index: view.getUint32(0, true),
    flags: view.getUint32(4, true),
    desc: view.getBigUint64(8, true),
    used: view.getBigUint64(16, true),
    avail: view.getBigUint64(24, true),
    log: view.getBigUint64(32, true),
  }),
  table: tableOf,
  region: (view) => regionAt(view, 8),
  log: (view) => ({ bytes: view.getBigUint64(0, true), offset: view.getBigUint64(8, true) }),
  config(view) {
    const size = view.getUint32(4, true);
    const room = view.byteLength - CONFIG_HEAD;
    if (size !== room) throw refusal('…_CONFIG', `it says ${size} bytes and has ${room}`);
    const bytes = new Uint8Array(view.buffer, view.byteOffset + CONFIG_HEAD, room);
    return { offset: view.getUint32(0, true), size, flags: view.getUint32(8, true), bytes };
  },
  inflight: (view) => ({
    bytes: view.getBigUint64(0, true),
    offset: view.getBigUint64(8, true),
    queues: view.getUint16(16, true),
    queueSize: view.getUint16(18, true),
  }),
  ring: (view) => ringOf(view.getBigUint64(0, true)),
};

/** Reads a payload. Throws a refusal when its size or its own counts are wrong. */
export function decode<S extends Shape>(shape: S, bytes: Uint8Array): Payloads[S] {
  if (!fits(shape, bytes.length)) throw refusal(`payload "${shape}"`, `it has ${bytes.length} bytes`);
  return DECODE[shape](new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}

const ENCODE: { readonly [S in Shape]: (value: Payloads[S]) => Uint8Array } = {
  none: () => new Uint8Array(0),
  u64: (value) => filled(8, (view) => view.setBigUint64(0, value, true)),
  state: ({ index, num }) =>
    filled(8, (view) => {
      view.setUint32(0, index, true);
      view.setUint32(4, num, true);
    }),
  address: ({ index, flags, desc, used, avail, log }) =>
    filled(40, (view) => {
      view.setUint32(0, index, true);
      view.setUint32(4, flags, true);
      for (const [i, value] of [desc, used, avail, log].entries()) view.setBigUint64(8 + i * 8, value, true);
    }),
  table: (regions) =>
    filled(TABLE_HEAD + regions.length * REGION_BYTES, (view) => {
      view.setUint32(0, regions.length, true);
      for (const [i, region] of regions.entries()) putRegion(view, TABLE_HEAD + i * REGION_BYTES, region);
    }),
  region: (region) => filled(8 + REGION_BYTES, (view) => putRegion(view, 8, region)),
  log: ({ bytes, offset }) =>
    filled(16, (view) => {
      view.setBigUint64(0, bytes, true);
      view.setBigUint64(8, offset, true);
    }),
  config: ({ offset, size, flags, bytes }) =>
    filled(CONFIG_HEAD + bytes.length, (view) => {
      view.setUint32(0, offset, true);
      view.setUint32(4, size, true);
      view.setUint32(8, flags, true);
      new Uint8Array(view.buffer).set(bytes, CONFIG_HEAD);
    }),
  inflight: ({ bytes, offset, queues, queueSize }) =>
    filled(INFLIGHT_BYTES, (view) => {
      view.setBigUint64(0, bytes, true);
      view.setBigUint64(8, offset, true);
      view.setUint16(16, queues, true);
      view.setUint16(18, queueSize, true);
    }),
  ring: ({ index, hasFd }) =>
    filled(8, (view) => view.setBigUint64(0, BigInt(index) | (hasFd ? 0n : RING_PAYLOAD.noFd), true)),
};

function filled(bytes: number, fill: (view: DataView) => void): Uint8Array {
  const array = new Uint8Array(bytes);
  fill(new DataView(array.buffer));
  return array;
}

/** Writes a payload. */
export const encode = <S extends Shape>(shape: S, value: Payloads[S]): Uint8Array => ENCODE[shape](value);
