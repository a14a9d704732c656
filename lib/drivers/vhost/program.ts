/** Writes what a session says of a ring into the ring's control block, while its gate is closed. Control half. */

import type { PeerRegion, RingSetup } from '../../vhost-user/types.ts';
import { hasFeature } from '../../virtio/features.ts';
import { BLOCK, MAX_REGIONS, REGION, REGIONS_AT, RING_F } from './block.ts';

/** Guest addresses are cut here, so that the high half is the same all over a piece. */
const CUT = 2 ** 32;
/** Largest piece: its size is an int32, and so are all sums with lengths in it. */
const MOST = 2 ** 31 - 4096;

/** The pieces of `regions`, sorted, none of them across a multiple of 4 GiB. */
export function cutRegions(regions: readonly PeerRegion[]): PeerRegion[] {
  const pieces: PeerRegion[] = [];
  for (const region of regions) {
    for (let done = 0; done < region.bytes; ) {
      const gpa = region.gpa + done;
      const bytes = Math.min(region.bytes - done, MOST, CUT - (gpa % CUT));
      pieces.push({ gpa, bytes, window: region.window, offset: region.offset + done });
      done += bytes;
    }
  }
  return pieces.sort((a, b) => a.gpa - b.gpa);
}

/** True when the pieces fit a block. */
export const regionsFit = (regions: readonly PeerRegion[]): boolean => cutRegions(regions).length <= MAX_REGIONS;

const low = (n: number): number => (n % CUT) | 0;
const high = (n: number): number => Math.floor(n / CUT);

function flagsOf({ packed, features, enabled, log, inflight, kick }: RingSetup): number {
  const bits: readonly (readonly [boolean, number])[] = [
    [packed, RING_F.packed],
    [hasFeature(features, 'MRG_RXBUF'), RING_F.mergeable],
    [hasFeature(features, 'EVENT_IDX'), RING_F.eventIdx],
    [hasFeature(features, 'INDIRECT_DESC'), RING_F.indirect],
    [hasFeature(features, 'CSUM'), RING_F.csum],
    [hasFeature(features, 'IN_ORDER'), RING_F.inOrder],
    [enabled, RING_F.enabled],
    [log !== undefined, RING_F.log],
    [inflight !== undefined, RING_F.inflight],
    [kick < 0, RING_F.polled],
  ];
  return bits.reduce((flags, [set, bit]) => (set ? flags | bit : flags), 0);
}

/** Writes the block at arena offset `block`. `used` is the index of the next used element. */
export function programRing(memory: SharedArrayBuffer, block: number, ring: RingSetup, used: number): void {
  const words = new Int32Array(memory, block, BLOCK.words);
  const { wanted, seen, rarp, rarpMac } = BLOCK;
  const kept: readonly number[] = [wanted, seen, rarp, rarpMac, rarpMac + 1];
  for (let i = 0; i < BLOCK.words; i++) if (!kept.includes(i)) words[i] = 0;
  words[BLOCK.flags] = flagsOf(ring);
  words[BLOCK.size] = ring.size;
  words[BLOCK.call] = ring.call;
  words[BLOCK.err] = ring.err;
  words[BLOCK.descWindow] = ring.desc.window;
  words[BLOCK.desc] = ring.desc.offset;
  words[BLOCK.driverWindow] = ring.driver.window;
  words[BLOCK.driver] = ring.driver.offset;
  words[BLOCK.deviceWindow] = ring.device.window;
  words[BLOCK.device] = ring.device.offset;
  words[BLOCK.avail] = ring.base.avail;
  words[BLOCK.availWrap] = Number(ring.base.availWrap);
  words[BLOCK.used] = used;
  words[BLOCK.usedWrap] = Number(ring.base.usedWrap);
  words[BLOCK.logWindow] = ring.log?.window ?? 0;
  words[BLOCK.log] = ring.log?.offset ?? 0;
  words[BLOCK.logBytes] = ring.log?.bytes ?? 0;
  words[BLOCK.usedLow] = ring.logAddress < 0 ? 0 : low(ring.logAddress);
  words[BLOCK.usedHigh] = ring.logAddress < 0 ? -1 : high(ring.logAddress);
  words[BLOCK.inflightWindow] = ring.inflight?.window ?? 0;
  words[BLOCK.inflight] = ring.inflight?.offset ?? 0;
  programRegions(memory, block, ring.regions);
}

function programRegions(memory: SharedArrayBuffer, block: number, regions: readonly PeerRegion[]): void {
  const pieces = cutRegions(regions);
  const table = new Int32Array(memory, block + REGIONS_AT, MAX_REGIONS * REGION.words);
  pieces.forEach(({ gpa, bytes, window, offset }, i) => {
    const at = i * REGION.words;
    table[at + REGION.low] = low(gpa);
    table[at + REGION.high] = high(gpa);
    table[at + REGION.bytes] = bytes;
    table[at + REGION.window] = window;
    table[at + REGION.offset] = offset;
  });
  new Int32Array(memory, block, BLOCK.words)[BLOCK.regions] = pieces.length;
}
