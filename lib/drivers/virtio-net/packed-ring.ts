/**
 * A packed virtqueue as its driver sees it (virtio 1.2 §2.8): the view, how a batch is published, and event suppression.
 * Data half. A position is a slot with the wrap counter in bit 15, as in the event structures. Id and flags of a
 * descriptor share a word: one access, 32 bits wide.
 */
import { indexAccess, storeFence } from '../../arena/order.ts';
import { DESC_F, EVENT_F } from '../../virtio/ring.ts';
import { BLOCK, type Block } from './block.ts';
import type { VirtioQueueData } from './data.ts';

/** A descriptor's words: address, length, and id with flags. */
export const PACKED = { addr: 0, addrHigh: 1, len: 2, last: 3 } as const;

/** AVAIL and USED where they are in a descriptor's last word. */
export const AVAIL_BIT = DESC_F.AVAIL << 16;
export const USED_BIT = DESC_F.USED << 16;
export const BOTH_BITS = AVAIL_BIT | USED_BIT;

/** Where a ring begins: slot 0, wrap counter 1 (§2.8.1). */
export const FIRST_POSITION = 0x8000;

/** The ring. */
export interface PackedRing {
  /** Descriptors: four words each. */
  readonly desc: Int32Array;
  /** Forgets what the ring held before. */
  reset(): void;
  /**
   * Makes a batch visible whose descriptors are written, but for the last word of the first of them, `word` for slot
   * `slot`; the next batch begins at `position`.
   */
  publish(slot: number, word: number, position: number): void;
  /** Publishes again what a worker before us may not have come to. */
  resume(): void;
  /** Whether the device wants to be told of the last `fresh` descriptors before `position`; with a store-load fence. */
  wanted(position: number, fresh: number): boolean;
  /**
   * Whether the device still asks to be told of a descriptor that it has used already. QEMU does, after the receiver of what
   * it sent could not take it for a while: `virtio_net_tx_complete` asks for the next one, takes all that has come meanwhile,
   * and does not ask again (of split rings, taking asks). Unless it is told nevertheless, it waits for ever.
   */
  overtaken(): boolean;
  /** Asks for an interrupt when the descriptor at `position` is used; with a store-load fence. */
  arm(position: number): void;
  disarm(): void;
}

/** Makes the driver's end of the packed ring of `data`. */
export function makePackedRing(memory: SharedArrayBuffer, data: VirtioQueueData, { order, words }: Block): PackedRing {
  const { size } = data;
  const { load, store } = indexAccess();
  const desc = new Int32Array(memory, data.desc, size * 4);
  const driverEvent = new Int32Array(memory, data.driver, 1);
  const deviceEvent = new Int32Array(memory, data.device, 1);
  const eventIdx = data.eventIdx !== 0;
  const disabled = EVENT_F.DISABLE << 16;

  /** Whether `event`, which may be up to a lap ahead, lies behind what the device has used, as far as we know. */
  function isBehind(event: number): boolean {
    const used = words[BLOCK.used];
    const ahead = (event & 0x7fff) - (used & 0x7fff);
    return ((event ^ used) & 0x8000) === 0 ? ahead < 0 : ahead > 0;
  }

  return {
    desc,
    reset() {
      for (let id = 0; id < size; id++) order[id] = id;
      words[BLOCK.available] = FIRST_POSITION;
      words[BLOCK.used] = FIRST_POSITION;
      driverEvent[0] = disabled;
    },
    publish(slot, word, position) {
      // In our block first: whoever takes over after this publishes it, see `resume`.
      words[BLOCK.pendingWord] = word;
      words[BLOCK.pendingSlot] = (slot + 1) | 0;
      words[BLOCK.available] = position;
      // The batch before the flags that open it (§2.8.21.1.1).
      store(desc, ((slot << 2) + PACKED.last) | 0, word);
      words[BLOCK.pendingSlot] = 0;
    },
    resume() {
      const slot = words[BLOCK.pendingSlot] - 1;
      if (slot < 0) return;
      const word = words[BLOCK.pendingWord];
      const at = slot * 4 + PACKED.last;
      const first = slot | ((word & AVAIL_BIT) === 0 ? 0 : 0x8000);
      // Only if the batch had become ours, and the device does not have it already.
      if (words[BLOCK.available] !== first && ((load(desc, at) ^ word) & AVAIL_BIT) !== 0) store(desc, at, word);
      words[BLOCK.pendingSlot] = 0;
    },
    wanted(position, fresh) {
      // What was published before the device's wish is read; the device writes its wish before it looks (§2.8.21.3.1).
      storeFence(words, BLOCK.fence, 0);
      const event = load(deviceEvent, 0);
      const flags = (event >>> 16) & 3;
      if (flags !== EVENT_F.DESC || !eventIdx) return flags !== EVENT_F.DISABLE;
      const at = event & 0x7fff;
      const lap = ((event ^ position) & 0x8000) === 0 ? 0 : size;
      return (((position & 0x7fff) - at + lap - 1) & 0xffff) < fresh || isBehind(event);
    },
    overtaken() {
      const event = load(deviceEvent, 0);
      return eventIdx && ((event >>> 16) & 3) === EVENT_F.DESC && isBehind(event);
    },
    arm(position) {
      storeFence(driverEvent, 0, eventIdx ? position | (EVENT_F.DESC << 16) : EVENT_F.ENABLE << 16);
    },
    disarm() {
      store(driverEvent, 0, disabled);
    },
  };
}
