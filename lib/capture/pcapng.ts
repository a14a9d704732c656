/** Parses pcapng: sections of blocks. Source: draft-ietf-opsawg-pcapng §3, §4. */
import { malformed, wrongLinkType } from './errors.ts';
import {
  BLOCK,
  BYTE_ORDER_MAGIC,
  type Direction,
  LINKTYPE_ETHERNET,
  MAX_BLOCK,
  MAX_INTERFACES,
  MICROSECONDS,
  MIN_LENGTH,
  OPTION,
} from './format.ts';
import { findOption, type OptionArea } from './options.ts';
import { setBytes, trimFcs } from './record.ts';
import { setTicks } from './time.ts';
import type { CaptureInterface, PacketRecord } from './types.ts';
import type { ByteWindow } from './window.ts';

/** Decodes the blocks of one pcapng file. */
export class PcapngDecoder {
  /** Of all sections, in the order of their descriptions. */
  readonly interfaces: CaptureInterface[] = [];
  private readonly file: string;
  private little = true;
  /** Index of the current section's first interface. */
  private section = 0;
  /** Of the block in hand, for messages. */
  private position = 0;

  constructor(file: string) {
    this.file = file;
  }

  /** Moves `record` to the next packet; false when the window does not have all of it. Skips blocks without packets. */
  next(window: ByteWindow, record: PacketRecord): boolean {
    for (;;) {
      const length = this.blockLength(window);
      if (length === 0 || window.length < length) return false;
      const { view, start } = window;
      const trailer = view.getUint32(start + length - 4, this.little);
      if (trailer !== length)
        throw this.bad(`the block there has ${length} bytes at its start and ${trailer} at its end`);
      record.position = this.position;
      const found = this.block(window, start, length, record);
      window.take(length);
      if (found) return true;
    }
  }

  /** Total length of the block at the front, checked; 0 when too little of it is there to tell. */
  private blockLength(window: ByteWindow): number {
    const { view, start } = window;
    this.position = window.position;
    if (window.length < 8) return 0;
    if (view.getUint32(start, true) === BLOCK.sectionHeader) {
      if (window.length < MIN_LENGTH.any) return 0;
      this.little = this.byteOrder(view, start + 8);
    }
    const length = view.getUint32(start + 4, this.little);
    if (length < MIN_LENGTH.any || length > MAX_BLOCK || length % 4 !== 0) {
      throw this.bad(`the block there says that it has ${length} bytes`);
    }
    return length;
  }

  private byteOrder(view: DataView, at: number): boolean {
    if (view.getUint32(at, true) === BYTE_ORDER_MAGIC) return true;
    if (view.getUint32(at, false) === BYTE_ORDER_MAGIC) return false;
    const why = 'the section header there has no byte-order magic';
    throw malformed('CAPTURE_BAD_MAGIC', this.file, this.position + 8, why);
  }

  private block(window: ByteWindow, start: number, length: number, record: PacketRecord): boolean {
    switch (window.view.getUint32(start, this.little)) {
      case BLOCK.enhancedPacket:
        return this.packet(window, start, length, record, window.view.getUint32(start + 8, this.little));
      case BLOCK.packet:
        return this.packet(window, start, length, record, window.view.getUint16(start + 8, this.little));
      case BLOCK.simplePacket:
        return this.simplePacket(window, start, length, record);
      case BLOCK.interfaceDescription:
        this.interfaceDescription(window.view, start, length);
        return false;
      case BLOCK.sectionHeader:
        this.sectionHeader(window.view, start, length);
        return false;
      default:
        // Name resolution, statistics, decryption secrets, custom blocks …: §3.1 has readers skip what they don't need.
        return false;
    }
  }

  private sectionHeader(view: DataView, start: number, length: number): void {
    if (length < MIN_LENGTH.sectionHeader) throw this.bad(`a section header cannot have ${length} bytes`);
    const major = view.getUint16(start + 12, this.little);
    const minor = view.getUint16(start + 14, this.little);
    // §4.1: minor version 2 is to be read as 0. The section length is not needed, and unknown (-1) in most files.
    if (major !== 1 || (minor !== 0 && minor !== 2)) {
      const why = `it is pcapng version ${major}.${minor}, and only 1.0 is known`;
      throw malformed('CAPTURE_VERSION', this.file, this.position + 12, why, 'convert it with "editcap -F pcapng"');
    }
    this.section = this.interfaces.length;
  }

  private interfaceDescription(view: DataView, start: number, length: number): void {
    if (length < MIN_LENGTH.interfaceDescription)
      throw this.bad(`an interface description cannot have ${length} bytes`);
    const linkType = view.getUint16(start + 8, this.little);
    if (linkType !== LINKTYPE_ETHERNET) throw wrongLinkType(this.file, this.position + 8, linkType);
    if (this.interfaces.length === MAX_INTERFACES)
      throw this.bad(`it describes more than ${MAX_INTERFACES} interfaces`);
    const area = this.options(view, start + 16, start + length - 4);
    const name = findOption(area, OPTION.ifName);
    const resolution = findOption(area, OPTION.ifTsResolution, 1);
    const offset = findOption(area, OPTION.ifTsOffset, 8);
    const fcs = findOption(area, OPTION.ifFcsLength, 1);
    this.interfaces.push({
      name: name < 0 ? '' : text(view, name, view.getUint16(name - 2, this.little)),
      snapLength: view.getUint32(start + 12, this.little),
      resolution: resolution < 0 ? MICROSECONDS : view.getUint8(resolution),
      offset: offset < 0 ? 0n : view.getBigInt64(offset, this.little),
      fcs: fcs < 0 ? 0 : this.fcsBytes(view.getUint8(fcs)),
    });
  }

  /** §4.2 says bits, and gives 4 as its example: writers have taken both for Ethernet's four bytes. */
  private fcsBytes(length: number): number {
    if (length === 0) return 0;
    if (length === 4 || length === 32) return 4;
    throw this.bad(`the interface description there has an FCS length of ${length}, which Ethernet has not`);
  }

  /** Enhanced packet block, §4.3, and the obsolete packet block, appendix A: the same after the interface. */
  private packet(window: ByteWindow, start: number, length: number, record: PacketRecord, id: number): boolean {
    if (length < MIN_LENGTH.enhancedPacket) throw this.bad(`a packet block cannot have ${length} bytes`);
    const { view } = window;
    const { little } = this;
    const captured = view.getUint32(start + 20, little);
    // Checked before it is rounded up: 32 bits of hostile length and 3 of padding still fit a double exactly.
    const options = 28 + Math.ceil(captured / 4) * 4;
    if (options > length - 4)
      throw this.bad(`the block there has ${length} bytes, too few for ${captured} of a packet`);
    const from = this.interface(record, id);
    if (!setTicks(record, view.getUint32(start + 12, little), view.getUint32(start + 16, little), from)) {
      throw this.bad('the time stamp there is before 1970 or after 2554');
    }
    setBytes(record, window, start + 28, captured, view.getUint32(start + 24, little));
    const flags = options === length - 4 ? 0 : this.flags(view, start + options, start + length - 4);
    record.direction = directionOf(flags);
    // Bits 5-8: the FCS length in bytes, which overrides the interface's when it is not 0 (§4.3.1).
    trimFcs(record, (flags >>> 5) & 15 || from.fcs);
    return true;
  }

  private flags(view: DataView, start: number, end: number): number {
    const at = findOption(this.options(view, start, end), OPTION.epbFlags, 4);
    return at < 0 ? 0 : view.getUint32(at, this.little);
  }

  /** §4.4: of the section's first interface, without time, as long as its snap length allows. */
  private simplePacket(window: ByteWindow, start: number, length: number, record: PacketRecord): boolean {
    if (length < MIN_LENGTH.simplePacket) throw this.bad(`a simple packet block cannot have ${length} bytes`);
    const from = this.interface(record, 0);
    const original = window.view.getUint32(start + 8, this.little);
    const captured = from.snapLength === 0 ? original : Math.min(original, from.snapLength);
    if (captured > length - MIN_LENGTH.simplePacket) {
      throw this.bad(`the block there has ${length} bytes, too few for ${captured} of a packet`);
    }
    record.timeHi = 0;
    record.timeLo = 0;
    record.direction = 0;
    setBytes(record, window, start + 12, captured, original);
    trimFcs(record, from.fcs);
    return true;
  }

  private interface(record: PacketRecord, id: number): CaptureInterface {
    const index = this.section + id;
    if (index >= this.interfaces.length)
      throw this.bad(`the packet there is of interface ${id}, which is not described`);
    record.interface = index;
    return this.interfaces[index];
  }

  private options(view: DataView, start: number, end: number): OptionArea {
    return { view, start, end, little: this.little, bad: (why) => this.bad(why) };
  }

  private bad(why: string): Error {
    return malformed('CAPTURE_BAD_BLOCK', this.file, this.position, why);
  }
}

/** Bits 0-1 of the flags word; the fourth value means nothing (§4.3.1). */
function directionOf(flags: number): Direction {
  const bits = flags & 3;
  return bits === 1 || bits === 2 ? bits : 0;
}

/** §3.5: not necessarily terminated by a zero, but ended by one; §3.6.3: not necessarily valid UTF-8. */
function text(view: DataView, at: number, length: number): string {
  const all = new TextDecoder().decode(new Uint8Array(view.buffer as ArrayBuffer, at, length));
  return all.split('\0', 1)[0];
}
