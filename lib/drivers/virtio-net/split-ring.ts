/**
 * A split virtqueue as its driver sees it (virtio 1.2 §2.7): the views, and how buffers are made available. Data half.
 * Flags and index of the available ring share a word that only we write, those of the used ring one that only the device
 * writes: one access each, 32 bits wide. Our own indices are never read back from there.
 */
import { indexAccess, storeFence } from '../../arena/order.ts';
import { AVAIL, DESC_F, NO_INTERRUPT, NO_NOTIFY, SPLIT_DESC, USED } from '../../virtio/ring.ts';
import { BLOCK, type Block } from './block.ts';
import type { VirtioQueueData } from './data.ts';

/** Words of a descriptor. */
export const DESC = {
  addr: SPLIT_DESC.addr >> 2,
  addrHigh: SPLIT_DESC.addrHigh >> 2,
  len: SPLIT_DESC.len >> 2,
  /** In the lower half; `next` is in the upper one. */
  flags: SPLIT_DESC.flags >> 2,
} as const;

/** The ring. */
export interface SplitRing {
  /** Descriptor table: four words each. */
  readonly desc: Int32Array;
  /** Elements of the available ring. */
  readonly avail: Uint16Array;
  /** Elements of the used ring: id and len. */
  readonly used: Int32Array;
  /** Index of the used ring, 16 bits. */
  usedIndex(): number;
  /** Writes what every descriptor keeps: length and flags. What the ring held before is forgotten. */
  reset(length: number, write: boolean): void;
  /** Makes everything up to index `available` visible to the device. */
  publish(available: number): void;
  /** `publish`, fenced; returns whether the device wants to be told what was published since index `told`. */
  wanted(available: number, told: number): boolean;
  /** Asks for an interrupt as soon as the used index leaves `used`; with a store-load fence. */
  arm(used: number): void;
  disarm(used: number): void;
}

/** Makes the driver's end of the split ring of `data`. */
export function makeSplitRing(memory: SharedArrayBuffer, data: VirtioQueueData, { order, words }: Block): SplitRing {
  const { size } = data;
  const { load, store } = indexAccess();
  const desc = new Int32Array(memory, data.desc, size * 4);
  const avail = new Uint16Array(memory, data.driver + AVAIL.ring, size);
  const used = new Int32Array(memory, data.device + USED.ring, size * 2);
  const head = new Int32Array(memory, data.driver, 1);
  const deviceHead = new Int32Array(memory, data.device, 1);
  const usedEvent = new Int32Array(memory, data.driver + AVAIL.ring + size * 2, 1);
  const availEvent = new Int32Array(memory, data.device + USED.ring + size * USED.elemBytes, 1);
  const eventIdx = data.eventIdx !== 0;
  // With EVENT_IDX the flags are 0 (§2.7.7.1); without, we ask for no interrupts until `arm`.
  const quiet = eventIdx ? 0 : NO_INTERRUPT;
  let flags = quiet;

  return {
    desc,
    avail,
    used,
    usedIndex: () => load(deviceHead, 0) >>> 16,
    reset(length, write) {
      for (let id = 0; id < size; id++) {
        order[id] = id;
        desc[id * 4 + DESC.addrHigh] = 0;
        desc[id * 4 + DESC.len] = length;
        desc[id * 4 + DESC.flags] = write ? DESC_F.WRITE : 0;
      }
      flags = quiet;
      usedEvent[0] = 0xffff;
    },
    publish(available) {
      // Descriptors and ring elements before the index: the device reads them once it sees it (§2.7.13.3.1).
      store(head, 0, (available << 16) | flags);
    },
    wanted(available, told) {
      // The index before the device's wish is read, while the device writes its wish before it reads the index (§2.7.13.4.1).
      storeFence(head, 0, (available << 16) | flags);
      if (!eventIdx) return (load(deviceHead, 0) & NO_NOTIFY) === 0;
      const event = load(availEvent, 0);
      return ((available - event - 1) & 0xffff) < ((available - told) & 0xffff);
    },
    arm(at) {
      if (eventIdx) {
        storeFence(usedEvent, 0, at & 0xffff);
        return;
      }
      flags = 0;
      storeFence(head, 0, words[BLOCK.available] << 16);
    },
    disarm(at) {
      if (eventIdx) {
        // As far behind as can be.
        store(usedEvent, 0, (at - 1) & 0xffff);
        return;
      }
      flags = quiet;
      store(head, 0, (words[BLOCK.available] << 16) | flags);
    },
  };
}
