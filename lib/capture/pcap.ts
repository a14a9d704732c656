/** Parses pcap: a file header, then packet records. Source: draft-ietf-opsawg-pcap §4, §5. */
import { malformed, wrongLinkType } from './errors.ts';
import {
  LINKTYPE_ETHERNET,
  MAX_BLOCK,
  MICROSECONDS,
  NANOSECONDS,
  PCAP_HEADER,
  PCAP_MICROSECONDS,
  PCAP_NANOSECONDS,
  PCAP_RECORD_HEADER,
} from './format.ts';
import { setBytes, trimFcs } from './record.ts';
import { setSeconds } from './time.ts';
import type { CaptureInterface, PacketRecord } from './types.ts';
import type { ByteWindow } from './window.ts';

/** True when `magic`, read as little-endian, starts a pcap file of either byte order. */
export function isPcapMagic(view: DataView, at: number): boolean {
  return [true, false].some((little) => {
    const magic = view.getUint32(at, little);
    return magic === PCAP_MICROSECONDS || magic === PCAP_NANOSECONDS;
  });
}

/** Decodes the records of one pcap file. */
export class PcapDecoder {
  readonly interfaces: CaptureInterface[] = [];
  private readonly file: string;
  private little = true;
  private nsPerUnit = 1;

  constructor(file: string) {
    this.file = file;
  }

  /** Moves `record` to the next packet; false when the window does not have all of it. */
  next(window: ByteWindow, record: PacketRecord): boolean {
    if (this.interfaces.length === 0 && !this.header(window)) return false;
    if (window.length < PCAP_RECORD_HEADER) return false;
    const { view, start } = window;
    const { little } = this;
    const captured = view.getUint32(start + 8, little);
    if (captured > MAX_BLOCK - PCAP_RECORD_HEADER) {
      const why = `the packet record there says that it has ${captured} bytes`;
      throw malformed('CAPTURE_BAD_BLOCK', this.file, window.position, why);
    }
    const size = PCAP_RECORD_HEADER + captured;
    if (window.length < size) return false;
    setSeconds(record, view.getUint32(start, little), view.getUint32(start + 4, little) * this.nsPerUnit);
    record.interface = 0;
    record.direction = 0;
    record.position = window.position;
    setBytes(record, window, start + PCAP_RECORD_HEADER, captured, view.getUint32(start + 12, little));
    trimFcs(record, this.interfaces[0].fcs);
    window.take(size);
    return true;
  }

  private header(window: ByteWindow): boolean {
    if (window.length < PCAP_HEADER) return false;
    const { view, start } = window;
    const magic = view.getUint32(start, true);
    this.little = magic === PCAP_MICROSECONDS || magic === PCAP_NANOSECONDS;
    const micro = view.getUint32(start, this.little) === PCAP_MICROSECONDS;
    this.nsPerUnit = micro ? 1000 : 1;
    const major = view.getUint16(start + 4, this.little);
    const minor = view.getUint16(start + 6, this.little);
    if (major !== 2 || minor !== 4) {
      const why = `it is pcap version ${major}.${minor}, and only 2.4 is known`;
      throw malformed('CAPTURE_VERSION', this.file, window.position + 4, why, 'convert it with "editcap -F pcapng"');
    }
    this.interfaces.push({
      name: '',
      snapLength: view.getUint32(start + 16, this.little),
      resolution: micro ? MICROSECONDS : NANOSECONDS,
      offset: 0n,
      fcs: fcsLength(view.getUint32(start + 20, this.little), this.file, window.position + 20),
    });
    window.take(PCAP_HEADER);
    return true;
  }
}

/** LinkType and additional information, pcap §4: FCS length (4 bits, in units of 2 bytes), R, P, reserved, link type. */
function fcsLength(word: number, file: string, offset: number): number {
  const reserved = word & 0x0bff_0000;
  const linkType = word & 0xffff;
  if (reserved !== 0 || linkType !== LINKTYPE_ETHERNET) throw wrongLinkType(file, offset, (linkType | reserved) >>> 0);
  const present = (word & 0x0400_0000) !== 0;
  return present ? (word >>> 28) * 2 : 0;
}
