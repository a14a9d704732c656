/** The front end's memory, as it told us: which address lies where. Main thread. */
import type { Region } from './payload.ts';
import { checkPart, type PeerFile, peerFile } from './peer-file.ts';
import type { Mapping, PeerMemory } from './peer-memory.ts';
import { refusal } from './refusal.ts';
import type { PeerPlace, PeerRegion } from './types.ts';

/** Regions that a front end may have: what GET_MAX_MEM_SLOTS says. */
export const MAX_REGIONS = 256;

const PAGE = 4096n;
/** Where numbers stop being exact, and where addresses do. */
const MOST_NUMBER = 2n ** 53n;
const MOST_ADDRESS = 2n ** 64n;

/** A region, and where it is mapped. */
interface Mapped extends Region {
  readonly identity: string;
  readonly mapping: Mapping;
}

/** A set of regions that does not change; the next table is another one. */
export class MemoryTable {
  readonly regions: readonly Mapped[];

  constructor(regions: readonly Mapped[] = []) {
    this.regions = regions;
  }

  /** Where `bytes` bytes lie that the front end knows by address `uva`, when they are whole in one window. */
  translate(uva: bigint, bytes: number): PeerPlace | undefined {
    for (const region of this.regions) {
      if (uva < region.uva || uva + BigInt(bytes) > region.uva + region.bytes) continue;
      const from = Number(uva - region.uva);
      const piece = region.mapping.pieces.find((p) => from >= p.from && from + bytes <= p.from + p.bytes);
      return piece === undefined ? undefined : { window: piece.window, offset: piece.offset + (from - piece.from) };
    }
    return undefined;
  }

  /** The pieces by guest address, as rings need them. */
  pieces(): PeerRegion[] {
    return this.regions.flatMap(({ gpa, mapping }) =>
      mapping.pieces.map(({ window, offset, from, bytes }) => ({ window, offset, bytes, gpa: Number(gpa) + from })),
    );
  }

  /** The guest address after the last one. */
  get end(): number {
    return Math.max(0, ...this.regions.map(({ gpa, bytes }) => Number(gpa + bytes)));
  }
}

/** Throws a refusal when a region by itself cannot be. */
function checkRegion({ gpa, bytes, uva, offset }: Region): void {
  const bad = (why: string) => {
    throw refusal('memory', why, 'VHOST_BAD_REGION');
  };
  if (bytes === 0n) bad('a region of 0 bytes');
  if (gpa + bytes > MOST_NUMBER) bad(`guest addresses ${gpa}+${bytes} are not possible`);
  if (uva + bytes > MOST_ADDRESS) bad(`user addresses ${uva}+${bytes} wrap around`);
  if (offset + bytes > MOST_NUMBER) bad(`file offset ${offset}+${bytes} is not possible`);
  if ([gpa, bytes, uva, offset].some((n) => n % PAGE !== 0n)) bad('a region that is not whole pages');
}

const cross = (a: bigint, b: bigint, aBytes: bigint, bBytes: bigint): boolean => a < b + bBytes && b < a + aBytes;

/** Throws a refusal when two regions have addresses in common. */
function checkOverlaps(regions: readonly Region[]): void {
  for (const [i, a] of regions.entries())
    for (const b of regions.slice(i + 1)) {
      const guest = cross(a.gpa, b.gpa, a.bytes, b.bytes);
      if (!guest && !cross(a.uva, b.uva, a.bytes, b.bytes)) continue;
      const which = guest ? `guest address ${a.gpa} and ${b.gpa}` : `user address ${a.uva} and ${b.uva}`;
      throw refusal('memory', `the regions at ${which} overlap`, 'VHOST_OVERLAP');
    }
}

const same = (a: Region, b: Region): boolean =>
  a.gpa === b.gpa && a.bytes === b.bytes && a.uva === b.uva && a.offset === b.offset;

/** A region that is to be mapped, and the file that it is in. */
export interface NewRegion {
  readonly region: Region;
  readonly fd: number;
}

function mapRegion(memory: PeerMemory, region: Region, file: PeerFile): Mapped {
  const [offset, bytes] = [Number(region.offset), Number(region.bytes)];
  return { ...region, identity: file.identity, mapping: memory.map(file, offset, bytes) };
}

/**
 * Makes the table of `wanted`: what `old` has mapped already is kept, the rest is mapped beside it. The fds may be closed
 * then. Throws a refusal, and then nothing has changed.
 */
export function makeTable(memory: PeerMemory, old: MemoryTable, wanted: readonly NewRegion[]): MemoryTable {
  for (const { region } of wanted) checkRegion(region);
  checkOverlaps(wanted.map(({ region }) => region));
  const files = wanted.map(({ region, fd }) => {
    const file = peerFile(fd);
    checkPart(file, Number(region.offset), Number(region.bytes));
    return file;
  });
  const fresh: Mapped[] = [];
  try {
    const regions = wanted.map(({ region }, i) => {
      const { identity } = files[i];
      const known = old.regions.find((r) => same(r, region) && r.identity === identity && !memory.faulted(r.mapping));
      if (known !== undefined) return known;
      const mapped = mapRegion(memory, region, files[i]);
      fresh.push(mapped);
      return mapped;
    });
    return new MemoryTable(regions);
  } catch (error) {
    for (const { mapping } of fresh) memory.unmap(mapping);
    throw error;
  }
}

/** The table with one region more. Throws as `makeTable`. */
export function addRegion(memory: PeerMemory, old: MemoryTable, { region, fd }: NewRegion): MemoryTable {
  checkRegion(region);
  checkOverlaps([region, ...old.regions]);
  if (old.regions.length >= MAX_REGIONS)
    throw refusal('ADD_MEM_REG', `there are ${MAX_REGIONS} regions already`, 'VHOST_NO_ROOM');
  const file = peerFile(fd);
  checkPart(file, Number(region.offset), Number(region.bytes));
  return new MemoryTable([...old.regions, mapRegion(memory, region, file)]);
}

/** The table without a region. Throws a refusal when there is none with these addresses and this size. */
export function removeRegion(old: MemoryTable, { gpa, uva, bytes }: Region): MemoryTable {
  const left = old.regions.filter((r) => r.gpa !== gpa || r.uva !== uva || r.bytes !== bytes);
  if (left.length < old.regions.length) return new MemoryTable(left);
  throw refusal('REM_MEM_REG', `there is no region ${gpa}+${bytes} at ${uva}`, 'VHOST_BAD_REGION');
}

/** Unmaps what `from` has and `but` has not. */
export function unmapTable(memory: PeerMemory, from: MemoryTable, but: MemoryTable = new MemoryTable()): void {
  for (const region of from.regions) if (!but.regions.includes(region)) memory.unmap(region.mapping);
}
