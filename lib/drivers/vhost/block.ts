/**
 * The control block of a queue, in our arena: what the main thread says to the queue's worker, and where the ring stands.
 * Written by the main thread while the block's gate is closed; then by the worker, as far as it says so here. Both halves.
 */
import { GATE } from '../../arena/gate.ts';
import { RX, TX } from '../../queue.ts';

/** Words of the block. Places are window and byte offset; features of the ring are bits of `flags`, see `RING_F`. */
export const BLOCK = {
  wanted: GATE.wanted,
  seen: GATE.seen,
  flags: 2,
  size: 3,
  /** Eventfds, or -1: interrupts the front end; tells it that the ring is broken. */
  call: 4,
  err: 5,
  descWindow: 6,
  desc: 7,
  driverWindow: 8,
  driver: 9,
  deviceWindow: 10,
  device: 11,
  /** Number of regions: their table follows the block. */
  regions: 12,
  /** Dirty log: place and bytes. */
  logWindow: 13,
  log: 14,
  logBytes: 15,
  /** Guest address of the used ring for the log: low and high half, of bits 0..52; high is -1 when it is not logged. */
  usedLow: 16,
  usedHigh: 17,
  /** This ring's part of the inflight area. */
  inflightWindow: 18,
  inflight: 19,
  /**
   * Split rings: buffers that the inflight area says must be taken again. Arena offset of their elements, each where the
   * available ring would have it, or 0; and the index behind the last of them.
   */
  resubmitList: 20,
  resubmitEnd: 21,
  /** Worker's: the next buffer to take, and the next used element to write; packed rings with their wrap counters. */
  avail: 22,
  availWrap: 23,
  used: 24,
  usedWrap: 25,
  /** Worker's: why the ring is broken (a `BROKEN`), 0 while it is not. */
  broken: 26,
  /** Worker's: what a store to it fences (lib/arena/order.ts). */
  fence: 27,
  /** rx, written by the main thread, not 0: deliver a reverse ARP of the address in these two words, then 0 again. */
  rarp: 28,
  rarpMac: 30,
  /** Worker's, packed rings: used descriptors that are kept aside and are being written to the ring, 0 when none are. */
  commit: 29,
  words: 32,
} as const;

/** What was negotiated for a ring, and its state. */
export const RING_F = {
  packed: 1,
  mergeable: 2,
  eventIdx: 4,
  indirect: 8,
  csum: 16,
  enabled: 32,
  log: 64,
  inflight: 128,
  /** The front end has no kick eventfd: nothing ever wakes who waits for it. */
  polled: 256,
  /** Buffers are used in the order in which they came: of many that are used together the last one is named. */
  inOrder: 512,
} as const;

/** Why a ring was stopped: nothing that it says can be believed any more. */
export const BROKEN = { none: 0, index: 1, head: 2, chain: 3, inflight: 4 } as const;

/** For people. */
export const BROKEN_TEXT: readonly string[] = [
  'it is well',
  'its avail index is ahead by more than its size',
  'it names a descriptor beyond its size',
  'it has a chain without an end',
  'its inflight area makes no sense',
];

/** A region: guest address (low, high), bytes, window, offset. Sorted by address; none crosses a multiple of 4 GiB. */
export const REGION = { low: 0, high: 1, bytes: 2, window: 3, offset: 4, words: 5 } as const;

/** Most regions of a block: 509 slots of a front end (vhost-user.rst), cut at windows and multiples of 4 GiB. */
export const MAX_REGIONS = 1024;

/**
 * A used descriptor that is kept aside: position in the ring, length, id (low half) and flags (high half); and how many
 * descriptors it and those before it take.
 */
export const ASIDE = { at: 0, length: 1, word: 2, slots: 3, words: 4 } as const;

/** Most that are kept aside: as many buffers are taken off a ring at a time. */
export const MAX_ASIDE = 1024;

/** Byte offsets in the block of what follows its words, and bytes of all. */
export const REGIONS_AT = BLOCK.words * 4;
export const ASIDE_AT = REGIONS_AT + MAX_REGIONS * REGION.words * 4;
export const BLOCK_BYTES = ASIDE_AT + MAX_ASIDE * ASIDE.words * 4;

/** Counters of an rx queue beyond the common ones: why a packet of the guest went no further. */
export const VHOST_RX_NAMES = ['runt', 'oversize', 'chain', 'address', 'header', 'disabled'] as const;
const rx = Object.keys(RX).length;
export const VHOST_RX = {
  runt: rx,
  oversize: rx + 1,
  /** Descriptors that make no sense: a loop, the wrong direction, no bytes, a bad indirect table. */
  chain: rx + 2,
  /** Not in the guest's memory. */
  address: rx + 3,
  /** The header asks for what was not negotiated or cannot be done. */
  header: rx + 4,
  /** The ring is not enabled: taken and thrown away (vhost-user.rst, "Ring states"). */
  disabled: rx + 5,
} as const;

/** Counters of a tx queue beyond the common ones. `chain` and `address` count buffers that went back unused. */
export const VHOST_TX_NAMES = ['no_buffer', 'chain', 'address'] as const;
const tx = Object.keys(TX).length;
export const VHOST_TX = {
  /** Failed: the guest's buffer is smaller than the packet. */
  no_buffer: tx,
  chain: tx + 1,
  address: tx + 2,
} as const;
