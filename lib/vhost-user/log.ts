/** The dirty log of a migration: one bit per 4 KiB of guest memory that we have written to. Main thread. */
import type { Payloads } from './payload.ts';
import { checkPart, peerFile } from './peer-file.ts';
import type { Mapping, PeerMemory } from './peer-memory.ts';
import { LIMIT } from './protocol.ts';
import { refusal } from './refusal.ts';
import type { PeerPlace } from './types.ts';

/** A log that is mapped. */
export interface DirtyLog {
  readonly area: PeerPlace & { readonly bytes: number };
  readonly mapping: Mapping;
  release(): void;
}

/** Maps a log that has a bit for each page below `end`. Throws a refusal. */
export function takeLog(memory: PeerMemory, { bytes, offset }: Payloads['log'], fd: number, end: number): DirtyLog {
  const bad = (why: string) => {
    throw refusal('SET_LOG_BASE', why, 'VHOST_BAD_LOG');
  };
  if (bytes === 0n) bad('it has no bytes');
  // In 64 bits and more: a sum that wraps around would be a small map and a large use (CVE-2020-10722).
  if (offset + bytes > 2n ** 53n) bad(`there is no range ${offset}+${bytes}`);
  const needed = Math.ceil(end / LIMIT.logPage / 8);
  if (bytes < BigInt(needed)) bad(`it has ${bytes} bytes, and ${needed} are needed`);
  const file = peerFile(fd);
  checkPart(file, Number(offset), Number(bytes));
  const mapping = memory.map(file, Number(offset), Number(bytes));
  const [piece, ...more] = mapping.pieces;
  if (more.length > 0) {
    memory.unmap(mapping);
    bad('it is too large');
  }
  const { window, offset: at } = piece;
  return { area: { window, offset: at, bytes: piece.bytes }, mapping, release: () => memory.unmap(mapping) };
}
