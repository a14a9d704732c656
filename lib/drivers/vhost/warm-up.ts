/** Warm-up of the `vhost` driver's queues: plays a guest on scratch rings of both kinds. Not on the fast path. */
import { GATE } from '../../arena/gate.ts';
import type { Burst, QueueContext, QueuePlan, RxQueue, TxQueue } from '../../queue.ts';
import { featureSet } from '../../virtio/features.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { AVAIL, DESC_F, queueAreas, USED } from '../../virtio/ring.ts';
import { BLOCK, BLOCK_BYTES } from './block.ts';
import { programRing } from './program.ts';

const SIZE = 64;
const BUFFER = 2048;
const GPA = 0x1_0000_0000;
const INFLIGHT = 0x4000;
const BUFFERS = 0x5000;
/** The last buffer is beyond what the guest has. */
const WINDOW = BUFFERS + (SIZE + 8) * BUFFER;
const HALF = BUFFERS + (SIZE / 2) * BUFFER;
/** How often, with an inflight area, with IN_ORDER, and with neither. */
const ROUNDS = { noting: 50, 'in order': 200, plain: 400 } as const;
const LONGEST = 1518;

type Way = keyof typeof ROUNDS;
type MakeRx = (plan: QueuePlan, context: QueueContext) => RxQueue;
type MakeTx = (plan: QueuePlan, context: QueueContext) => TxQueue;

/** What a buffer looks like: its place from a multiple of 2 KiB, its bytes, flags, and how many follow in its chain. */
interface Shape {
  readonly skew: number;
  readonly bytes: number;
  readonly flags: number;
  readonly more?: number;
}

/** The n-th buffer of a guest that transmits packets: mostly of one kind, as guests do. */
function packetShape(n: number): Shape {
  if (n % 16 === 3) return { skew: 2, bytes: 72 + (n % 7), flags: 0 };
  if (n % 16 === 7) return { skew: 64, bytes: NET_HDR_BYTES, flags: 0, more: 1 };
  if (n % 64 === 11) return { skew: 0, bytes: 20, flags: 0 };
  if (n % 64 === 12) return { skew: 0, bytes: 4000, flags: 0 };
  if (n % 64 === 13) return { skew: 0, bytes: 72, flags: DESC_F.WRITE };
  return { skew: 116, bytes: n % 4 === 0 ? LONGEST : 76, flags: 0 };
}

/** The n-th buffer of one that receives. */
function roomShape(n: number): Shape {
  const flags = DESC_F.WRITE;
  if (n % 16 === 3) return { skew: 2, bytes: 1536, flags };
  if (n % 16 === 7) return { skew: 64, bytes: NET_HDR_BYTES, flags, more: 1 };
  if (n % 64 === 9) return { skew: 0, bytes: 64, flags };
  if (n % 64 === 11) return { skew: 0, bytes: 72, flags: 0 };
  return { skew: n % 4 === 0 ? 112 : 116, bytes: 1536, flags };
}

/** A guest: adds up to `most` buffers, and never looks at what comes of them. */
interface Guest {
  add(most: number): void;
}

interface Place {
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
}

function splitGuest(window: SharedArrayBuffer, { desc, driver, device }: Place, shapeOf: (n: number) => Shape): Guest {
  const words = new Int32Array(window);
  const halves = new Uint16Array(window);
  const put = (i: number, { skew, bytes, flags }: Shape, more: boolean) => {
    const d = (desc >>> 2) + i * 4;
    words[d] = BUFFERS + i * BUFFER + skew;
    words[d + 1] = 1;
    words[d + 2] = bytes;
    words[d + 3] = flags | (more ? DESC_F.NEXT : 0) | (((i + 1) % SIZE) << 16);
  };
  const idx = (driver + AVAIL.idx) >>> 1;
  const used = (device + USED.idx) >>> 1;
  let slot = 0;
  let count = 0;
  return {
    add(most) {
      for (let n = 0; n < most && ((halves[idx] - halves[used]) & 0xffff) < SIZE / 2; n++) {
        const shape = shapeOf(count++);
        const more = shape.more ?? 0;
        halves[((driver + AVAIL.ring) >>> 1) + (halves[idx] % SIZE)] = slot;
        for (let i = 0; i <= more; i++) {
          put(slot, i === 0 ? shape : { ...shape, bytes: 200 }, i < more);
          slot = (slot + 1) % SIZE;
        }
        halves[idx]++;
      }
    },
  };
}

function packedGuest(window: SharedArrayBuffer, { desc }: Place, shapeOf: (n: number) => Shape): Guest {
  const words = new Int32Array(window);
  const at = (slot: number) => (desc >>> 2) + slot * 4;
  let slot = 0;
  let wrap = 1;
  let count = 0;
  const put = ({ skew, bytes, flags }: Shape, more: boolean) => {
    const d = at(slot);
    words[d] = BUFFERS + slot * BUFFER + skew;
    words[d + 1] = 1;
    words[d + 2] = bytes;
    const available = wrap === 1 ? DESC_F.AVAIL : DESC_F.USED;
    words[d + 3] = slot | ((flags | (more ? DESC_F.NEXT : 0) | available) << 16);
    slot++;
    if (slot < SIZE) return;
    slot = 0;
    wrap ^= 1;
  };
  // Chains that the queue has: where they begin, and how many descriptors each takes.
  const given: { at: number; slots: number }[] = [];
  let free = SIZE;
  const reclaim = () => {
    while (given.length > 0) {
      const word = words[at(given[0].at) + 3];
      if ((((word >>> 16) & DESC_F.AVAIL) !== 0) !== (((word >>> 16) & DESC_F.USED) !== 0)) return;
      // In order it may be the last of many: that whose last descriptor, which is its id, is named.
      for (let last = -1; last !== (word & 0xffff) && given.length > 0; ) {
        const { at: first, slots } = given.shift()!;
        free += slots;
        last = (first + slots - 1) % SIZE;
      }
    }
  };
  return {
    add(most) {
      reclaim();
      for (let n = 0; n < most && free >= SIZE / 2; n++) {
        const shape = shapeOf(count++);
        const more = shape.more ?? 0;
        given.push({ at: slot, slots: more + 1 });
        free -= more + 1;
        for (let i = 0; i <= more; i++) put(i === 0 ? shape : { ...shape, bytes: 200 }, i < more);
      }
    },
  };
}

/** A ring in a window of its own, a guest at its other end, and the plan of the queue. */
function makeRing(context: QueueContext, direction: 'rx' | 'tx', packed: boolean, way: Way) {
  const { memory, scratch } = context;
  const window = new SharedArrayBuffer(WINDOW);
  const areas = queueAreas(SIZE, packed);
  const place = { desc: 0x1000, driver: 0x2000, device: 0x3000 };
  if (areas.desc.bytes > 0x1000) throw new RangeError('the warm-up ring is too large');
  const block = scratch(BLOCK_BYTES);
  const words = new Int32Array(memory, block, BLOCK.words);
  const shapeOf = direction === 'rx' ? packetShape : roomShape;
  const guest = packed ? packedGuest(window, place, shapeOf) : splitGuest(window, place, shapeOf);
  const at = (offset: number) => ({ window: 0, offset });
  programRing(
    memory,
    block,
    {
      ...{ index: direction === 'rx' ? 1 : 0, size: SIZE, packed, call: 0, kick: -1, err: -1, enabled: true },
      features: featureSet(
        'VERSION_1',
        'MRG_RXBUF',
        'INDIRECT_DESC',
        ...(way === 'in order' ? (['IN_ORDER'] as const) : []),
      ),
      ...{ desc: at(place.desc), driver: at(place.driver), device: at(place.device) },
      base: { avail: 0, availWrap: true, used: 0, usedWrap: true },
      regions: [
        { gpa: GPA, bytes: HALF, window: 0, offset: 0 },
        { gpa: GPA + HALF, bytes: WINDOW - 4 * BUFFER - HALF, window: 1, offset: HALF },
      ],
      ...{ inflight: way === 'noting' ? { ...at(INFLIGHT), size: SIZE } : undefined, log: undefined, logAddress: -1 },
    },
    0,
  );
  words[GATE.wanted] = 1;
  const plan: QueuePlan = {
    ...{ module: '', direction, port: 'warm-up', queue: 0, counterNames: [], fd: -1, maxLength: LONGEST },
    counters: scratch(256),
    data: { block },
    // The second half of the guest is in the second window.
    peer: [window, window],
  };
  return { plan, guest, words };
}

function warmRx(context: QueueContext, packed: boolean, way: Way, make: MakeRx, burst: Burst): void {
  const { plan, guest, words } = makeRing(context, 'rx', packed, way);
  const rx = make(plan, context);
  for (let round = 0; round < ROUNDS[way]; round++) {
    if (round % 16 === 0) rx.arm();
    guest.add(1 + ((round * 11) % 32));
    if (round % 16 === 0) rx.disarm();
    while (rx.receive(burst) > 0) context.stack.give(burst.offsets, 0, burst.count);
  }
  words[GATE.wanted] = 2;
  rx.receive(burst);
}

function warmTx(context: QueueContext, packed: boolean, way: Way, make: MakeTx, burst: Burst): void {
  const { plan, guest, words } = makeRing(context, 'tx', packed, way);
  const tx = make(plan, context);
  for (let round = 0; round < ROUNDS[way]; round++) {
    guest.add(1 + ((round * 11) % 32));
    const n = context.stack.take(burst.offsets, 0, 1 + ((round * 7) % burst.size));
    for (let i = 0; i < n; i++) burst.lengths[i] = (round + i) % 8 === 0 ? LONGEST : 60 + (i % 5);
    if (n > 0 && round % 16 === 0) burst.lengths[0] = round % 32 === 0 ? 13 : 2000;
    const sent = tx.transmit(burst, 0, n);
    context.stack.give(burst.offsets, sent, n);
    tx.kick();
    tx.reclaim();
  }
  words[GATE.wanted] = 2;
  tx.transmit(burst, 0, 0);
}

/** Receives and sends, split and packed, through buffers good and bad, until V8 has seen every branch. */
export function warmUpWith(context: QueueContext, makeRx: MakeRx, makeTx: MakeTx): void {
  const burst: Burst = { size: 32, offsets: new Int32Array(32), lengths: new Int32Array(32), count: 0 };
  for (const packed of [true, false]) {
    for (const way of ['noting', 'in order', 'plain'] as const) {
      warmRx(context, packed, way, makeRx, burst);
      warmTx(context, packed, way, makeTx, burst);
    }
  }
}
