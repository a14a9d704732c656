/**
 * What a back end before us was working on when it ended (QEMU, docs/interop/vhost-user.rst, "Inflight I/O tracking",
 * "When reconnecting"): taken again, in the order in which it took it. Each step can be the last one: whoever comes after
 * finds what is needed to do it again. Control half.
 */
import { DeviceError } from '../../errors.ts';
import {
  INFLIGHT_PACKED as PACKED,
  PACKED_STATE,
  INFLIGHT_SPLIT as SPLIT,
  SPLIT_STATE,
  INFLIGHT_VERSION as VERSION,
} from '../../virtio/inflight.ts';
import { DESC_BYTES, DESC_F, PACKED_DESC } from '../../virtio/ring.ts';

/** A ring's part of the area, for `entries` descriptors, and how many the ring has. */
export interface Part {
  readonly area: DataView;
  readonly entries: number;
  readonly size: number;
}

/** Where a packed ring stands. */
export interface Position {
  readonly at: number;
  readonly wrap: boolean;
}

function bad(why: string): DeviceError {
  const fix = 'the front end must give it back as the back end before left it';
  return new DeviceError('BAD_INFLIGHT', { what: 'its inflight area', why, fix });
}

/** Reads 16 bits once, and believes them below `limit` only. */
function below(area: DataView, offset: number, limit: number): number {
  const value = area.getUint16(offset, true);
  if (value < limit) return value;
  throw bad(`index ${value} of ${limit} at byte ${offset}`);
}

/** False when the part was never used. */
function inUse({ area, entries, size }: Part): boolean {
  if (entries < size) throw bad(`it is for rings of ${entries} descriptors, and this one has ${size}`);
  const version = area.getUint16(SPLIT.version, true);
  if (version === 0) return false;
  const count = area.getUint16(SPLIT.descNum, true);
  if (version !== VERSION || count !== entries) throw bad(`version ${version} for ${count} descriptors`);
  return true;
}

/** Last of all: from now on it is in use. */
function begin({ area, entries }: Part): void {
  area.setUint16(SPLIT.descNum, entries, true);
  area.setUint16(SPLIT.version, VERSION, true);
}

/** Entries of `head` bytes' distance that are in flight, in order of their counters. */
function inFlight({ area, size }: Part, head: number, bytes: number, counterAt: number): number[] {
  const found: { readonly entry: number; readonly counter: bigint }[] = [];
  for (let entry = 0; entry < size; entry++) {
    const at = head + entry * bytes;
    if (area.getUint8(at) !== 0) found.push({ entry, counter: area.getBigUint64(at + counterAt, true) });
  }
  return found.sort((a, b) => (a.counter < b.counter ? -1 : 1)).map(({ entry }) => entry);
}

/** Returns the heads of buffers that were taken off a split ring whose used index is `usedIdx`, and not used. */
export function recoverSplit(part: Part, usedIdx: number): number[] {
  const { area, size } = part;
  if (!inUse(part)) {
    area.setUint16(SPLIT.usedIdx, usedIdx, true);
    begin(part);
    return [];
  }
  // The last batch was used, but not all of it was crossed out.
  const batch = (usedIdx - area.getUint16(SPLIT.usedIdx, true)) & 0xffff;
  if (batch > size) throw bad(`${batch} buffers of ${size} were used at once`);
  let at: number = SPLIT.lastBatchHead;
  for (let n = 0; n < batch; n++) {
    const state = SPLIT.head + below(area, at, size) * SPLIT.entry;
    area.setUint8(state + SPLIT_STATE.inflight, 0);
    at = state + SPLIT_STATE.next;
  }
  area.setUint16(SPLIT.usedIdx, usedIdx, true);
  return inFlight(part, SPLIT.head, SPLIT.entry, SPLIT_STATE.counter);
}

const flagsOf = (desc: DataView, slot: number): number =>
  desc.getUint16(slot * DESC_BYTES + PACKED_DESC.flags, true) & (DESC_F.AVAIL | DESC_F.USED);

/** What a batch that was being used left half done is finished when the driver saw it, and taken back when not. */
function settle({ area, size }: Part, desc: DataView): Position & { readonly free: number } {
  const u16 = (offset: number) => area.getUint16(offset, true);
  const used = below(area, PACKED.usedIdx, size);
  const old = below(area, PACKED.oldUsedIdx, size);
  const [wrap, oldWrap] = [area.getUint8(PACKED.usedWrap) !== 0, area.getUint8(PACKED.oldUsedWrap) !== 0];
  if (used !== old || wrap !== oldWrap) {
    const available = flagsOf(desc, old) === (oldWrap ? DESC_F.AVAIL : DESC_F.USED);
    // A free head that was carried over already says that it was finished.
    if (!available || u16(PACKED.freeHead) === u16(PACKED.oldFreeHead)) {
      area.setUint16(PACKED.oldFreeHead, u16(PACKED.freeHead), true);
      area.setUint16(PACKED.oldUsedIdx, used, true);
      area.setUint8(PACKED.oldUsedWrap, Number(wrap));
      return { at: used, wrap, free: u16(PACKED.freeHead) };
    }
  }
  area.setUint16(PACKED.freeHead, u16(PACKED.oldFreeHead), true);
  area.setUint16(PACKED.usedIdx, old, true);
  area.setUint8(PACKED.usedWrap, Number(oldWrap));
  return { at: old, wrap: oldWrap, free: u16(PACKED.oldFreeHead) };
}

const stateAt = (entry: number): number => PACKED.head + entry * PACKED.entry;

/** Entries are free, in their order. The last one has a number behind the last for the next. */
function link({ area, entries }: Part): void {
  for (let i = 0; i < entries; i++) {
    area.setUint8(stateAt(i) + PACKED_STATE.inflight, 0);
    area.setUint16(stateAt(i) + PACKED_STATE.next, i + 1, true);
  }
  area.setUint16(PACKED.freeHead, 0, true);
  area.setUint16(PACKED.oldFreeHead, 0, true);
}

/** Entries of the chain that begins with `entry`. */
function chainOf({ area, size }: Part, entry: number): number[] {
  const num = area.getUint16(stateAt(entry) + PACKED_STATE.num, true);
  if (num < 1 || num > size) throw bad(`a list of ${num} descriptors in a ring of ${size}`);
  const chain = [entry];
  while (chain.length < num) chain.push(below(area, stateAt(chain[chain.length - 1]) + PACKED_STATE.next, size));
  return chain;
}

/**
 * Puts the descriptors that were taken off a packed ring and not used back into it: to the slots that its driver knows as
 * taken, right before those that are still available. Returns where the ring stands; `base` is where it begins.
 */
export function recoverPacked(part: Part, desc: DataView, base: Position): Position {
  const { area, entries, size } = part;
  if (!inUse(part)) {
    link(part);
    for (const offset of [PACKED.usedIdx, PACKED.oldUsedIdx]) area.setUint16(offset, base.at, true);
    for (const offset of [PACKED.usedWrap, PACKED.oldUsedWrap]) area.setUint8(offset, Number(base.wrap));
    begin(part);
    return base;
  }
  const { at, wrap, free } = settle(part, desc);
  for (let i = 0, entry = free; i < entries && entry < entries; i++) {
    area.setUint8(stateAt(entry) + PACKED_STATE.inflight, 0);
    entry = area.getUint16(stateAt(entry) + PACKED_STATE.next, true);
  }
  const chains = inFlight(part, PACKED.head, PACKED.entry, PACKED_STATE.counter).map((entry) => chainOf(part, entry));
  const taken = chains.flat();
  if (taken.length > size) throw bad(`${taken.length} descriptors of ${size} are in flight`);
  putBack(area, desc, size, { at, wrap }, taken);
  // From the first of them on all are free: with this one store they are no longer in flight.
  for (const [i, entry] of taken.entries())
    area.setUint16(stateAt(entry) + PACKED_STATE.next, taken[i + 1] ?? free, true);
  if (taken.length > 0) area.setUint16(PACKED.oldFreeHead, taken[0], true);
  link(part);
  return { at, wrap };
}

function putBack(area: DataView, desc: DataView, size: number, from: Position, taken: readonly number[]): void {
  let { at, wrap } = from;
  for (const entry of taken) {
    const state = stateAt(entry);
    const d = at * DESC_BYTES;
    const kind = area.getUint16(state + PACKED_STATE.flags, true) & (DESC_F.NEXT | DESC_F.WRITE | DESC_F.INDIRECT);
    desc.setBigUint64(d + PACKED_DESC.addr, area.getBigUint64(state + PACKED_STATE.addr, true), true);
    desc.setUint32(d + PACKED_DESC.len, area.getUint32(state + PACKED_STATE.len, true), true);
    desc.setUint16(d + PACKED_DESC.id, area.getUint16(state + PACKED_STATE.id, true), true);
    desc.setUint16(d + PACKED_DESC.flags, kind | (wrap ? DESC_F.AVAIL : DESC_F.USED), true);
    if (++at < size) continue;
    at = 0;
    wrap = !wrap;
  }
}
