/** The area in which a back end notes what it is working on, so that another can go on after a crash. Main thread. */
import { MAX_QUEUE_SIZE } from '../virtio/ring.ts';
import type { Payloads } from './payload.ts';
import { checkPart, peerFile } from './peer-file.ts';
import type { Mapping, PeerMemory } from './peer-memory.ts';
import { refusal } from './refusal.ts';
import type { PeerPlace } from './types.ts';

/**
 * Layout of a queue's part (vhost-user.rst, "Inflight I/O tracking": QueueRegionSplit, QueueRegionPacked): u64 features,
 * u16 version, u16 desc_num, then u16 indices, then the descriptors' states. Offsets in bytes.
 */
export const INFLIGHT = {
  version: 8,
  descNum: 10,
  split: { head: 16, entry: 16, lastBatchHead: 12, usedIdx: 14, next: 6 },
  packed: { head: 32, entry: 32, freeHead: 12, oldFreeHead: 14, usedIdx: 16, oldUsedIdx: 18, next: 2, last: 4 },
} as const;

const ALIGN = 64;
const VERSION = 1;

/** An area that is mapped. */
export interface Inflight {
  readonly place: PeerPlace;
  readonly queues: number;
  readonly queueBytes: number;
  /** Set when the front end gave it to us. */
  readonly mapping?: Mapping;
  release(): void;
}

type Description = Payloads['inflight'];

/** Bytes of a queue's part, and of all. Far below 2^53: 65,535 parts of 2 MiB at most. */
function sizesOf({ queues, queueSize }: Description, packed: boolean): { queueBytes: number; bytes: number } {
  const { head, entry } = packed ? INFLIGHT.packed : INFLIGHT.split;
  const queueBytes = Math.ceil((head + entry * queueSize) / ALIGN) * ALIGN;
  return { queueBytes, bytes: queueBytes * queues };
}

function check(message: string, { queues, queueSize }: Description, rings: number): void {
  if (queues < 1 || queues > rings)
    throw refusal(message, `there are ${rings} rings, not ${queues}`, 'VHOST_BAD_INDEX');
  if (queueSize < 1 || queueSize > MAX_QUEUE_SIZE)
    throw refusal(message, `a ring cannot have ${queueSize} descriptors`, 'VHOST_BAD_SIZE');
}

/** Makes one, sealed, so that whoever has it can't make it shorter. The fd is the caller's. */
export function makeInflight(
  memory: PeerMemory,
  asked: Description,
  rings: number,
  packed: boolean,
): { readonly inflight: Inflight; readonly fd: number; readonly answer: Description } {
  check('GET_INFLIGHT_FD', asked, rings);
  const { queueBytes, bytes } = sizesOf(asked, packed);
  const { place, length, fd } = memory.make(bytes);
  const { queues } = asked;
  const inflight = { place, queues, queueBytes, release: () => memory.unmake(place, length) };
  return { inflight, fd, answer: { ...asked, bytes: BigInt(bytes), offset: 0n } };
}

/** Maps one that the front end kept. Throws a refusal unless everything in it is inside it. */
export function takeInflight(
  memory: PeerMemory,
  told: Description,
  fd: number,
  rings: number,
  packed: boolean,
): Inflight {
  check('SET_INFLIGHT_FD', told, rings);
  const { queueBytes, bytes } = sizesOf(told, packed);
  const bad = (why: string) => {
    throw refusal('SET_INFLIGHT_FD', why, 'VHOST_BAD_INFLIGHT');
  };
  if (told.bytes < BigInt(bytes)) bad(`${told.queues} rings need ${bytes} bytes, and it has ${told.bytes}`);
  if (told.offset + told.bytes > 2n ** 53n || told.offset % BigInt(ALIGN) !== 0n) bad(`offset ${told.offset}`);
  const file = peerFile(fd);
  checkPart(file, Number(told.offset), Number(told.bytes));
  const mapping = memory.map(file, Number(told.offset), bytes);
  try {
    if (mapping.pieces.length > 1) bad('it is too large');
    const [{ window, offset }] = mapping.pieces;
    const words = new DataView(memory.windows[window], offset, bytes);
    for (let q = 0; q < told.queues; q++) checkQueue(words, q * queueBytes, told.queueSize, packed, bad);
    return {
      place: { window, offset },
      queues: told.queues,
      queueBytes,
      mapping,
      release: () => memory.unmap(mapping),
    };
  } catch (error) {
    memory.unmap(mapping);
    throw error;
  }
}

/** Looks at one queue's part. Whoever works on it copies and checks again: the other end can still write to it. */
function checkQueue(words: DataView, at: number, size: number, packed: boolean, bad: (why: string) => void): void {
  const u16 = (offset: number): number => words.getUint16(at + offset, true);
  const version = u16(INFLIGHT.version);
  // Not used yet: it holds nothing.
  if (version === 0) return;
  if (version !== VERSION) bad(`it is of version ${version}`);
  if (u16(INFLIGHT.descNum) !== size) bad(`a part is for ${u16(INFLIGHT.descNum)} descriptors, not ${size}`);
  const { split, packed: p } = INFLIGHT;
  const heads = packed ? [p.freeHead, p.oldFreeHead, p.usedIdx, p.oldUsedIdx] : [split.lastBatchHead];
  const { head, entry, links } = packed ? { ...p, links: [p.next, p.last] } : { ...split, links: [split.next] };
  const wild = (offset: number): boolean => u16(offset) >= size;
  for (const offset of heads) if (wild(offset)) bad(`index ${u16(offset)} of ${size}`);
  for (let d = 0; d < size; d++)
    for (const link of links)
      if (wild(head + d * entry + link))
        bad(`descriptor ${d} is followed by ${u16(head + d * entry + link)} of ${size}`);
}
