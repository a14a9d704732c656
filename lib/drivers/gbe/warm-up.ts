/** Warm-up of the queues of gigabit controllers: plays the device's side of scratch rings. Not on the fast path. */
import { GATE } from '../../arena/gate.ts';
import { type Burst, MORE, type QueueContext, type QueuePlan, type RxQueue, type TxQueue } from '../../queue.ts';
import { BLOCK, blockBytes } from './block.ts';
import type { GbeQueueData } from './data.ts';
import { RX_DESC, RX_STATUS, TX_DD, TX_KIND, TX_PAYLEN } from './regs.ts';

const SIZE = 64;
const ROUNDS = 400;
const BUFFER = 1024;
const SEGMENTS = 8;

type MakeRx = (plan: QueuePlan, context: QueueContext) => RxQueue;
type MakeTx = (plan: QueuePlan, context: QueueContext) => TxQueue;
type Layout = (typeof RX_DESC)['extended'] | (typeof RX_DESC)['legacy'];

/** What a descriptor says when it is done: length, and bits of the status beyond `DD`. */
interface Said {
  readonly length: number;
  readonly status: number;
}

const { DD, EOP } = RX_STATUS;
const whole = (length: number): Said => ({ length, status: EOP });
/** As many as a packet may have, and no end. */
const ENDLESS: readonly Said[] = Array.from({ length: SEGMENTS }, () => ({ length: BUFFER, status: 0 }));

/** Turns of what the device says of a round's first descriptors: nearly always ordinary packets. */
function sayings(errors: number): readonly (readonly Said[])[] {
  const part = (length: number): Said => ({ length, status: 0 });
  return [
    [whole(5)],
    [whole(4000)],
    [{ length: 60, status: EOP | errors }],
    [part(BUFFER), whole(200)],
    [part(BUFFER), part(5000), whole(60)],
    [part(BUFFER)],
    [...Array.from({ length: SEGMENTS + 1 }, () => part(BUFFER)), whole(60)],
    ENDLESS,
    [],
  ];
}

/** One queue's ring, registers and block. */
class World {
  readonly plan: QueuePlan;
  readonly words: Int32Array;
  private readonly desc: Int32Array;
  private readonly tail: Int32Array;
  private readonly layout: Layout;
  private head = 0;

  constructor({ memory, scratch }: QueueContext, direction: 'rx' | 'tx', layout: Layout, advanced: boolean) {
    this.layout = layout;
    const block = scratch(blockBytes(SIZE));
    const ring = scratch(SIZE * 16);
    const registers = scratch(64);
    const kind = advanced ? TX_KIND.advanced : TX_KIND.legacy;
    const data: GbeQueueData = {
      ...{ size: SIZE, ring, block, frameAddresses: 0, tail: registers, buffer: BUFFER, segments: SEGMENTS },
      ...{ statusWord: layout.status, lengthWord: layout.length, errors: layout.errors },
      ...{ command: kind, paylen: advanced ? TX_PAYLEN : 0 },
      ...{ causeRegister: registers + 4, enableRegister: registers + 8, disableRegister: registers + 12 },
      ...{ readRegister: registers + 16, cause: 1, unmask: advanced ? 0 : -1 },
    };
    this.plan = {
      ...{ module: '', port: 'warm-up', queue: 0, direction, counters: scratch(256), counterNames: [] },
      ...{ fd: -1, maxLength: 3000, data },
    };
    this.words = new Int32Array(memory, block, BLOCK.first);
    this.desc = new Int32Array(memory, ring, SIZE * 4);
    this.tail = new Int32Array(memory, registers, 1);
  }

  /** Opens the gate, or closes it; a device that was reset begins with index 0. */
  set(open: boolean): void {
    if (open) {
      this.desc.fill(0);
      this.tail[0] = 0;
      this.head = 0;
    }
    this.words[BLOCK.gate + GATE.wanted]++;
    if (!open) this.words[BLOCK.released] = this.words[BLOCK.gate + GATE.wanted];
  }

  /** Fills `count` buffers: what `first` says, then ordinary packets. */
  fill(count: number, first: readonly Said[], ordinary: Said): void {
    const { status, length } = this.layout;
    for (let n = 0; n < count && this.head !== this.tail[0]; n++) {
      const said = first[n] ?? ordinary;
      this.desc[this.head * 4 + length] = said.length;
      this.desc[this.head * 4 + status] = DD | said.status;
      this.head = (this.head + 1) % SIZE;
    }
  }

  /** Sends all. */
  send(): void {
    for (; this.head !== this.tail[0]; this.head = (this.head + 1) % SIZE) this.desc[this.head * 4 + 3] |= TX_DD;
  }
}

/** Receives, sends, is lied to, and begins anew, until V8 has seen every branch. */
export function warmUpWith(context: QueueContext, makeRx: MakeRx, makeTx: MakeTx): void {
  drive(context, RX_DESC.legacy, false, makeRx, makeTx);
  drive(context, RX_DESC.extended, true, makeRx, makeTx);
}

/** What is odd about the packets that are sent in some rounds. */
function disguise({ lengths }: Burst, n: number, round: number): void {
  const odd = [13, 15, 5000, MORE + 60, 60, 60];
  lengths[0] = odd[round % odd.length];
  // A packet of two; one that has no end.
  if (round % 3 === 0) lengths[(n >>> 1) & 7] = MORE + 60;
  if (round % 16 === 0) lengths[n - 1] = MORE + 60;
}

function drive(context: QueueContext, layout: Layout, advanced: boolean, makeRx: MakeRx, makeTx: MakeTx): void {
  const { stack } = context;
  const rxWorld = new World(context, 'rx', layout, advanced);
  const txWorld = new World(context, 'tx', layout, advanced);
  const both = (open: boolean) => {
    rxWorld.set(open);
    txWorld.set(open);
  };
  both(true);
  const rx = makeRx(rxWorld.plan, context);
  const tx = makeTx(txWorld.plan, context);
  const burst: Burst = { size: 32, offsets: new Int32Array(32), lengths: new Int32Array(32), count: 0 };
  const turns = sayings(layout.errors);
  for (let round = 0; round < ROUNDS; round++) {
    const odd = round % 4 === 3;
    const first = odd ? turns[(round >>> 2) % turns.length] : [];
    rxWorld.fill(first === ENDLESS ? SEGMENTS : 40, first, whole(60));
    rx.arm();
    rx.disarm();
    for (let n = rx.receive(burst); n > 0; n = rx.receive(burst)) {
      if (odd) disguise(burst, n, round >>> 2);
      const sent = tx.transmit(burst, 0, n);
      stack.give(burst.offsets, sent, n);
      tx.kick();
    }
    if (round % 8 !== 0) txWorld.send();
    tx.reclaim();
    if (round % 64 !== 63) continue;
    both(false);
    rx.receive(burst);
    tx.reclaim();
    both(true);
    rx.receive(burst);
    tx.transmit(burst, 0, 0);
  }
  both(false);
  rx.receive(burst);
  tx.reclaim();
}
