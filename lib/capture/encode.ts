/**
 * Encodes pcapng blocks, in this host's byte order (§3.6.1 leaves the choice to the writer; every host that linecard
 * runs on is little-endian). Source: draft-ietf-opsawg-pcapng §3.1, §3.5, §4.1 to §4.3, §4.6.
 */
import { CaptureError } from '../errors.ts';
import { BLOCK, BYTE_ORDER_MAGIC, type Direction, LINKTYPE_ETHERNET, NANOSECONDS, OPTION } from './format.ts';

/** What a section header says about its origin; each may be left out. */
export interface SectionInfo {
  readonly hardware?: string;
  readonly os?: string;
  readonly application?: string;
}

/** What a statistics block says about an interface. Times in nanoseconds since 1970. */
export interface InterfaceStatistics {
  readonly time: bigint;
  readonly start: bigint;
  readonly received: bigint;
  readonly dropped: bigint;
}

/** A packet, as a block needs it. */
export interface EncodablePacket {
  readonly interface: number;
  readonly timestamp: bigint;
  readonly data: Uint8Array;
  readonly originalLength: number;
  readonly direction: Direction;
}

type Piece = Uint8Array;

function words(...values: readonly number[]): Piece {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

/** The two halves of a time stamp, upper first: §4.3. */
function time(ns: bigint): Piece {
  return words(Number((ns >> 32n) & 0xffff_ffffn), Number(ns & 0xffff_ffffn));
}

/** A 64-bit number, in the host's byte order. */
function long(value: bigint): Piece {
  return new Uint8Array(BigUint64Array.of(value).buffer);
}

function padding(length: number): Piece {
  return new Uint8Array(-length & 3);
}

function option(code: number, value: Piece): Piece[] {
  if (value.length > 0xffff) {
    throw new CaptureError('CAPTURE_OPTION', {
      what: `option ${code} of a capture block`,
      why: `its value has ${value.length} bytes, and 65535 is the most`,
      fix: 'use a shorter text',
    });
  }
  return [words((value.length << 16) | code), value, padding(value.length)];
}

function text(code: number, value: string | undefined): Piece[] {
  return value === undefined || value === '' ? [] : option(code, new TextEncoder().encode(value));
}

const END: Piece = words(OPTION.end);

function concat(pieces: readonly Piece[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

function block(type: number, body: readonly Piece[]): Uint8Array {
  const length = 12 + body.reduce((sum, piece) => sum + piece.length, 0);
  return concat([words(type, length), ...body, words(length)]);
}

/** Returns a section header block: version 1.0, of unknown length, §4.1. */
export function sectionHeader(info: SectionInfo): Uint8Array {
  const options = [
    ...text(OPTION.shbHardware, info.hardware),
    ...text(OPTION.shbOs, info.os),
    ...text(OPTION.shbApplication, info.application),
    END,
  ];
  return block(BLOCK.sectionHeader, [words(BYTE_ORDER_MAGIC, 0x0000_0001, 0xffff_ffff, 0xffff_ffff), ...options]);
}

/** Returns an interface description block: Ethernet, time stamps in nanoseconds, no snap length unless one is given. */
export function interfaceDescription(name: string, snapLength = 0): Uint8Array {
  const options = [...text(OPTION.ifName, name), ...option(OPTION.ifTsResolution, Uint8Array.of(NANOSECONDS)), END];
  return block(BLOCK.interfaceDescription, [words(LINKTYPE_ETHERNET, snapLength), ...options]);
}

/** Returns an enhanced packet block with its direction, §4.3. */
export function enhancedPacket(packet: EncodablePacket): Uint8Array {
  const { data } = packet;
  return block(BLOCK.enhancedPacket, [
    words(packet.interface),
    time(packet.timestamp),
    words(data.length, packet.originalLength),
    data,
    padding(data.length),
    ...option(OPTION.epbFlags, words(packet.direction)),
    END,
  ]);
}

/** Returns an interface statistics block, §4.6. */
export function interfaceStatistics(id: number, statistics: InterfaceStatistics): Uint8Array {
  return block(BLOCK.interfaceStatistics, [
    words(id),
    time(statistics.time),
    ...option(OPTION.isbStart, time(statistics.start)),
    ...option(OPTION.isbEnd, time(statistics.time)),
    ...option(OPTION.isbReceived, long(statistics.received)),
    ...option(OPTION.isbDropped, long(statistics.dropped)),
    END,
  ]);
}
