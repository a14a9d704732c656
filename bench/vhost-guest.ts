/**
 * The least guest that keeps a `vhost` queue busy: its ring is written once, and then only its indices move. What is
 * measured against it is the queue alone.
 */
import { Gate } from '../lib/arena/gate.ts';
import { BLOCK_BYTES } from '../lib/drivers/vhost/block.ts';
import { programRing } from '../lib/drivers/vhost/program.ts';
import type { QueueContext, QueuePlan } from '../lib/queue.ts';
import { featureSet } from '../lib/virtio/features.ts';
import { queueAreas } from '../lib/virtio/ring.ts';
import type { PieceRoom } from './pieces.ts';

const GPA = 0x1_0000_0000;
const BUFFER = 2048;
/** As of DPDK's virtio-user: the header just before a packet at a multiple of 64. */
const BEFORE_HEADER = 116;

export interface BenchGuest {
  readonly plan: QueuePlan;
  readonly context: QueueContext;
  /** Makes the next `n` buffers available. */
  offer(n: number): void;
}

/** Makes a guest that transmits packets of `length` bytes (`rx`), or receives (`tx`), with a ring of `size`. */
export function makeBenchGuest(
  { arena, pool, stack }: PieceRoom,
  direction: 'rx' | 'tx',
  packed: boolean,
  length: number,
  size = 256,
): BenchGuest {
  const window = new SharedArrayBuffer(0x1_0000 + size * BUFFER);
  const words = new Int32Array(window);
  const halves = new Uint16Array(window);
  const areas = queueAreas(size, packed);
  const desc = 0x1000;
  const driver = desc + areas.desc.bytes;
  const device = (driver + areas.driver.bytes + 63) & -64;
  const writes = direction === 'tx';
  const capacity = writes ? 1536 : length + 12;
  for (let i = 0; i < size; i++) {
    const d = (desc + i * 16) >>> 2;
    words[d] = 0x1_0000 + i * BUFFER + BEFORE_HEADER;
    words[d + 1] = 1;
    words[d + 2] = capacity;
    words[d + 3] = packed ? i | ((writes ? 2 : 0) << 16) : writes ? 2 : 0;
    if (!packed) halves[((driver + 4) >>> 1) + i] = i;
  }
  const block = arena.allocate(BLOCK_BYTES);
  const gate = new Gate(arena.memory, block, () => {});
  const place = (offset: number) => ({ window: 0, offset });
  programRing(
    arena.memory,
    block,
    {
      index: writes ? 0 : 1,
      size,
      packed,
      features: featureSet('VERSION_1', 'MRG_RXBUF'),
      desc: place(desc),
      driver: place(driver),
      device: place(device),
      base: { avail: 0, availWrap: true, used: 0, usedWrap: true },
      call: 1,
      kick: -1,
      err: -1,
      enabled: true,
      regions: [{ gpa: GPA, bytes: window.byteLength, window: 0, offset: 0 }],
      inflight: undefined,
      log: undefined,
      logAddress: -1,
    },
    0,
  );
  gate.set(true);
  // No interrupts, please.
  if (packed) halves[(driver + 2) >>> 1] = 1;
  else halves[driver >>> 1] = 1;
  let next = 0;
  let wrap = 1;
  return {
    plan: {
      module: '',
      direction,
      port: 'bench',
      queue: 0,
      counters: arena.allocate(256),
      counterNames: [],
      fd: -1,
      maxLength: 1518,
      data: { block },
      peer: [window],
    },
    context: {
      memory: arena.memory,
      pool: pool.plan,
      stack,
      clock: { now: () => 0, utc: () => {}, words: new Int32Array(4) },
      kick: () => {},
      kickTx: () => 0,
      kickRx: () => 0,
      scratch: (bytes) => arena.allocate(bytes),
    },
    offer(n) {
      if (!packed) {
        next = (next + n) & 0xffff;
        halves[(driver + 2) >>> 1] = next;
        return;
      }
      for (let k = 0; k < n; k++) {
        // Length, then id and flags in one store, as a driver would.
        const d = (desc + next * 16) >>> 2;
        words[d + 2] = capacity;
        words[d + 3] = next | (((writes ? 2 : 0) | (wrap << 7) | ((1 - wrap) << 15)) << 16);
        next++;
        if (next === size) {
          next = 0;
          wrap = 1 - wrap;
        }
      }
    },
  };
}
