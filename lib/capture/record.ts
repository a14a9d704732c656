/** Filling the one record that a reader overwrites. */
import type { PacketRecord } from './types.ts';
import type { ByteWindow } from './window.ts';

/** Returns a record to be overwritten. */
export function emptyRecord(): PacketRecord {
  return {
    interface: 0,
    timeHi: 0,
    timeLo: 0,
    direction: 0,
    bytes: new Uint8Array(0),
    start: 0,
    captured: 0,
    original: 0,
    position: 0,
  };
}

/** Points `record` at `captured` bytes at `start`. A packet cannot have had fewer bytes than were captured of it. */
export function setBytes(
  record: PacketRecord,
  window: ByteWindow,
  start: number,
  captured: number,
  original: number,
): void {
  record.bytes = window.bytes;
  record.start = start;
  record.captured = captured;
  record.original = Math.max(original, captured);
}

/** Takes the frame check sequence off: a frame has none inside linecard, and its captured part may end within it. */
export function trimFcs(record: PacketRecord, fcs: number): void {
  if (fcs === 0) return;
  record.original = record.original < fcs ? 0 : record.original - fcs;
  if (record.captured > record.original) record.captured = record.original;
}
