/** The area in which a back end notes what it is working on, so that another can go on after a crash. Main thread. */
import { INFLIGHT_PACKED, INFLIGHT_SPLIT, INFLIGHT_VERSION, PACKED_STATE, SPLIT_STATE } from '../virtio/inflight.ts';
import { MAX_QUEUE_SIZE } from '../virtio/ring.ts';
import type { Payloads } from './payload.ts';
import { checkPart, peerFile } from './peer-file.ts';
import type { Mapping, PeerMemory } from './peer-memory.ts';
import { refusal } from './refusal.ts';
import type { PeerPlace } from './types.ts';

const ALIGN = 64;

/** An area that is mapped. */
export interface Inflight {
  readonly place: PeerPlace;
  readonly queues: number;
  readonly queueBytes: number;
  /** Descriptors that each part is for. */
  readonly queueSize: number;
  /** Set when the front end gave it to us. */
  readonly mapping?: Mapping;
  release(): void;
}

type Description = Payloads['inflight'];

/** Bytes of a queue's part, and of all. Far below 2^53: 65,535 parts of 2 MiB at most. */
function sizesOf({ queues, queueSize }: Description, packed: boolean): { queueBytes: number; bytes: number } {
  const { head, entry } = packed ? INFLIGHT_PACKED : INFLIGHT_SPLIT;
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
  const { queues, queueSize } = asked;
  const inflight = { place, queues, queueBytes, queueSize, release: () => memory.unmake(place, length) };
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
      queueSize: told.queueSize,
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
  const version = u16(INFLIGHT_SPLIT.version);
  // Not used yet: it holds nothing.
  if (version === 0) return;
  if (version !== INFLIGHT_VERSION) bad(`it is of version ${version}`);
  if (u16(INFLIGHT_SPLIT.descNum) !== size)
    bad(`a part is for ${u16(INFLIGHT_SPLIT.descNum)} descriptors, not ${size}`);
  const { freeHead, oldFreeHead, usedIdx, oldUsedIdx } = INFLIGHT_PACKED;
  // Links of packed rings may say that there is no other: that is a number behind the last.
  const [heads, links] = packed
    ? [[usedIdx, oldUsedIdx], [PACKED_STATE.last]]
    : [[INFLIGHT_SPLIT.lastBatchHead], [SPLIT_STATE.next]];
  const [openHeads, openLinks] = packed ? [[freeHead, oldFreeHead], [PACKED_STATE.next]] : [[], []];
  const { head, entry } = packed ? INFLIGHT_PACKED : INFLIGHT_SPLIT;
  for (const offset of heads) if (u16(offset) >= size) bad(`index ${u16(offset)} of ${size}`);
  for (const offset of openHeads) if (u16(offset) > size) bad(`index ${u16(offset)} of ${size}`);
  for (let d = 0; d < size; d++) {
    const follows = (link: number): number => u16(head + d * entry + link);
    const wild = links.find((link) => follows(link) >= size) ?? openLinks.find((link) => follows(link) > size);
    if (wild !== undefined) bad(`descriptor ${d} is followed by ${follows(wild)} of ${size}`);
  }
}
