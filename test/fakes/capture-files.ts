/**
 * Capture files made byte by byte, with offsets of their own, written from the two drafts: not from lib/capture, so that
 * one wrong number cannot cancel another.
 */

/** A packet of a pcap file. */
export interface PcapRecord {
  readonly seconds: number;
  /** Micro- or nanoseconds, as the file has them. */
  readonly fraction: number;
  readonly data: Uint8Array;
  readonly original?: number;
  /** Overrides the captured length field. */
  readonly captured?: number;
}

/** How a pcap file is written. */
export interface PcapShape {
  readonly little: boolean;
  readonly nano: boolean;
  readonly minor?: number;
  readonly linkType?: number;
}

/** Returns a pcap file, draft-ietf-opsawg-pcap §4 and §5. */
export function pcapFile(shape: PcapShape, records: readonly PcapRecord[]): Uint8Array {
  const { little } = shape;
  const header = new DataView(new ArrayBuffer(24));
  header.setUint32(0, shape.nano ? 0xa1b23c4d : 0xa1b2c3d4, little);
  header.setUint16(4, 2, little);
  header.setUint16(6, shape.minor ?? 4, little);
  header.setUint32(16, 262_144, little);
  header.setUint32(20, shape.linkType ?? 1, little);
  const parts: Uint8Array[] = [new Uint8Array(header.buffer)];
  for (const { seconds, fraction, data, original, captured } of records) {
    const head = new DataView(new ArrayBuffer(16));
    head.setUint32(0, seconds, little);
    head.setUint32(4, fraction, little);
    head.setUint32(8, captured ?? data.length, little);
    head.setUint32(12, original ?? data.length, little);
    parts.push(new Uint8Array(head.buffer), data);
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** An option of a pcapng block. */
export interface Option {
  readonly code: number;
  readonly value: Uint8Array;
}

/** Blocks of one byte order, draft-ietf-opsawg-pcapng. */
export class Blocks {
  readonly little: boolean;

  constructor(little: boolean) {
    this.little = little;
  }

  u8(value: number): Uint8Array {
    return Uint8Array.of(value);
  }

  u16(value: number): Uint8Array {
    const view = new DataView(new ArrayBuffer(2));
    view.setUint16(0, value, this.little);
    return new Uint8Array(view.buffer);
  }

  u32(value: number): Uint8Array {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, value, this.little);
    return new Uint8Array(view.buffer);
  }

  i64(value: bigint): Uint8Array {
    const view = new DataView(new ArrayBuffer(8));
    view.setBigInt64(0, value, this.little);
    return new Uint8Array(view.buffer);
  }

  /** §3.1 */
  block(type: number, body: readonly Uint8Array[]): Uint8Array {
    const content = Buffer.concat(body);
    const length = 12 + content.length;
    return new Uint8Array(Buffer.concat([this.u32(type), this.u32(length), content, this.u32(length)]));
  }

  /** §3.5 */
  options(list: readonly Option[], end = true): Uint8Array[] {
    const parts = list.flatMap(({ code, value }) => [this.u16(code), this.u16(value.length), pad(value)]);
    return list.length > 0 && end ? [...parts, this.u32(0)] : parts;
  }

  /** §4.1 */
  section(options: readonly Option[] = [], minor = 0): Uint8Array {
    const fixed = [this.u32(0x1a2b3c4d), this.u16(1), this.u16(minor), this.i64(-1n)];
    return this.block(0x0a0d0d0a, [...fixed, ...this.options(options)]);
  }

  /** §4.2 */
  interface(options: readonly Option[] = [], snapLength = 0, linkType = 1): Uint8Array {
    return this.block(1, [this.u16(linkType), this.u16(0), this.u32(snapLength), ...this.options(options)]);
  }

  /** §4.3 */
  packet(
    id: number,
    ticks: bigint,
    data: Uint8Array,
    more: { original?: number; options?: Option[]; end?: boolean } = {},
  ) {
    return this.block(6, [
      this.u32(id),
      this.u32(Number(ticks >> 32n)),
      this.u32(Number(ticks & 0xffff_ffffn)),
      this.u32(data.length),
      this.u32(more.original ?? data.length),
      pad(data),
      ...this.options(more.options ?? [], more.end ?? true),
    ]);
  }

  /** Appendix A */
  oldPacket(id: number, ticks: bigint, data: Uint8Array): Uint8Array {
    return this.block(2, [
      this.u16(id),
      this.u16(0xffff),
      this.u32(Number(ticks >> 32n)),
      this.u32(Number(ticks & 0xffff_ffffn)),
      this.u32(data.length),
      this.u32(data.length),
      pad(data),
    ]);
  }

  /** §4.4 */
  simplePacket(data: Uint8Array, original = data.length): Uint8Array {
    return this.block(3, [this.u32(original), pad(data)]);
  }
}

/** Pads to 32 bits. */
export function pad(value: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil(value.length / 4) * 4);
  padded.set(value);
  return padded;
}

/** Puts pieces of a file together. */
export function file(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Returns an Ethernet frame of `length` bytes whose bytes depend on `seed`. */
export function frame(length: number, seed = 0): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 13) & 0xff);
  // A unicast destination and an EtherType for experiments (0x88b5), so that dissectors leave it alone.
  bytes.set([0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0xb5].slice(0, length));
  return bytes;
}
