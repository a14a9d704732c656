/** Warm-up of the `virtio-net` driver's queues: plays the device's side of scratch rings. Not on the fast path. */
import { GATE } from '../../arena/gate.ts';
import type { Burst, QueueContext, QueuePlan, RxQueue, TxQueue } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { DESC_F, queueAreas } from '../../virtio/ring.ts';
import { BLOCK, blockBytes } from './block.ts';
import { NUM_BUFFERS_WORD } from './header.ts';

const SIZE = 64;
const ROUNDS = 400;

type MakeRx = (plan: QueuePlan, context: QueueContext) => RxQueue;
type MakeTx = (plan: QueuePlan, context: QueueContext) => TxQueue;

/**
 * Uses every buffer that is available, with what `lengthOf` says of the n-th; `lie` names one that is not there. The first
 * is of a packet of `buffers` buffers. `batched`: all are told of by the last of them (IN_ORDER).
 */
interface Player {
  play(lengthOf: (n: number) => number, lie: boolean, buffers?: number, batched?: boolean): void;
}

interface Place {
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
}

function splitPlayer(memory: SharedArrayBuffer, { desc, driver, device }: Place): Player {
  const i32 = new Int32Array(memory);
  const words = new Int32Array(memory, desc, SIZE * 4);
  const avail = new Uint16Array(memory, driver, 2 + SIZE);
  const used16 = new Uint16Array(memory, device, 2);
  const used = new Int32Array(memory, device + 4, SIZE * 2);
  let at = 0;
  return {
    play(lengthOf, lie, buffers = 1, batched = false) {
      // A ring that is begun anew.
      if (avail[1] === 0 && at !== 0) at = 0;
      const first = at;
      for (let n = 0; at !== avail[1]; n++) {
        const id = avail[2 + (at % SIZE)];
        i32[(words[id * 4] >>> 2) + NUM_BUFFERS_WORD] = (n === 0 ? buffers : 1) << 16;
        const element = ((batched ? first : at) % SIZE) * 2;
        used[element] = lie ? SIZE : id;
        used[element + 1] = lengthOf(n);
        at = (at + 1) & 0xffff;
      }
      used16[1] = at;
    },
  };
}

function packedPlayer(memory: SharedArrayBuffer, { desc }: Place): Player {
  const i32 = new Int32Array(memory);
  const words = new Int32Array(memory, desc, SIZE * 4);
  const both = (DESC_F.AVAIL | DESC_F.USED) << 16;
  let at = 0;
  let available = DESC_F.AVAIL << 16;
  return {
    play(lengthOf, lie, buffers = 1, batched = false) {
      const first = at;
      const used = available < 0 ? 0 : both;
      for (let n = 0; n < SIZE && (words[at * 4 + 3] & both) === available; n++) {
        i32[(words[at * 4] >>> 2) + NUM_BUFFERS_WORD] = (n === 0 ? buffers : 1) << 16;
        const id = lie ? SIZE : words[at * 4 + 3] & 0xffff;
        const told = batched ? first : at;
        words[told * 4 + 2] = lengthOf(n);
        words[told * 4 + 3] = id | used;
        if (++at < SIZE) continue;
        at = 0;
        available ^= both;
      }
    },
  };
}

interface World {
  readonly plan: QueuePlan;
  readonly player: Player;
  /** Opens the gate, or closes it; a ring is zeroed behind a closed one. */
  set(open: boolean): void;
}

function makeWorld(
  { memory, scratch }: QueueContext,
  direction: 'rx' | 'tx',
  packed: boolean,
  switches: Record<string, number>,
): World {
  const areas = queueAreas(SIZE, packed);
  const place = {
    desc: scratch(areas.desc.bytes),
    driver: scratch(areas.driver.bytes + 2),
    device: scratch(areas.device.bytes + 2),
  };
  const block = scratch(blockBytes(SIZE));
  const words = new Int32Array(memory, block, BLOCK.first);
  const notify = { kickFd: 0, kickRegister: 0, kickValue: 0, kickWidth: 2, position: 0, isr: scratch(64), unmask: 0 };
  const data = {
    size: SIZE,
    ...place,
    block,
    tables: 0,
    announceLow: 0,
    announceHigh: 0,
    frameAddresses: 0,
    ...notify,
    ...switches,
  };
  const plan: QueuePlan = {
    ...{ module: '', port: 'warm-up', queue: 0, direction, counters: scratch(256), counterNames: [] },
    ...{ fd: -1, maxLength: 1518, data },
  };
  const world = {
    plan,
    player: (packed ? packedPlayer : splitPlayer)(memory, place),
    set(open: boolean) {
      if (open) {
        for (const [area, { bytes }] of Object.entries(areas))
          new Uint8Array(memory, place[area as keyof Place], bytes).fill(0);
        world.player = (packed ? packedPlayer : splitPlayer)(memory, place);
      }
      words[BLOCK.gate + GATE.wanted]++;
      if (!open) words[BLOCK.released] = words[BLOCK.gate + GATE.wanted];
    },
  };
  return world;
}

/** Receives, sends, is lied to, and begins anew, until V8 has seen every branch. */
export function warmUpWith(context: QueueContext, packed: boolean, makeRx: MakeRx, makeTx: MakeTx): void {
  const plain = { eventIdx: 0, inOrder: 0, mergeable: 0, checksum: 0 };
  const mergeable = { ...plain, eventIdx: 1, mergeable: 1 };
  for (const switches of [plain, mergeable, { ...mergeable, inOrder: 1 }])
    drive(context, packed, switches, makeRx, makeTx);
}

function drive(
  context: QueueContext,
  packed: boolean,
  switches: Record<string, number>,
  makeRx: MakeRx,
  makeTx: MakeTx,
): void {
  const { stack } = context;
  const worlds = {
    rx: makeWorld(context, 'rx', packed, switches),
    tx: makeWorld(context, 'tx', packed, switches),
  };
  const both = (open: boolean) => {
    worlds.rx.set(open);
    worlds.tx.set(open);
  };
  const inOrder = switches.inOrder !== 0;
  both(true);
  const rx = makeRx(worlds.rx.plan, context);
  const tx = makeTx(worlds.tx.plan, context);
  const burst: Burst = { size: 32, offsets: new Int32Array(32), lengths: new Int32Array(32), count: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    const odd = round % 16;
    const lengthOf = (n: number) => NET_HDR_BYTES + (n > 0 || odd > 3 ? 60 : [1, 1700, 4000, -NET_HDR_BYTES][odd]);
    worlds.rx.player.play(lengthOf, false, odd === 7 ? 2 : odd === 9 ? 0 : 1, inOrder && odd === 11);
    rx.arm();
    rx.disarm();
    for (let n = rx.receive(burst); n > 0; n = rx.receive(burst)) {
      if (odd === 5) burst.lengths[0] = round % 32 === 5 ? 13 : 1600;
      const sent = tx.transmit(burst, 0, n);
      stack.give(burst.offsets, sent, n);
      tx.kick();
    }
    if (round % 4 !== 0) worlds.tx.player.play(() => 0, false, 1, inOrder && odd !== 11);
    tx.reclaim();
    if (round % 64 !== 63) continue;
    worlds.rx.player.play(() => 72, true);
    worlds.tx.player.play(() => 0, true);
    rx.receive(burst);
    tx.reclaim();
    both(false);
    rx.receive(burst);
    tx.reclaim();
    both(true);
    rx.receive(burst);
  }
  both(false);
  rx.receive(burst);
  tx.reclaim();
}
