/**
 * Queues of the `vhost` driver: the guest's transmit ring is our rx queue, its receive ring our tx queue. Data half.
 * A queue does nothing while its gate is closed; when it opens, the ring is what the block says (`block.ts`).
 */
import { isOpen } from '../../arena/gate.ts';
import { segmentsOf } from '../../arena/segments.ts';
import type { QueueContext, QueuePlan, RxQueue, TxQueue } from '../../queue.ts';
import { BLOCK, RING_F } from './block.ts';
import { makePackedRx } from './packed-rx.ts';
import { makePackedTx } from './packed-tx.ts';
import { makeRarp } from './rarp.ts';
import { makeSplitRx } from './split-rx.ts';
import { makeSplitTx } from './split-tx.ts';
import { warmUpWith } from './warm-up.ts';
import { makeWorld } from './world.ts';

/** What is behind the gate: nothing, or a ring of one of the two kinds. */
const KIND = { closed: 0, split: 1, packed: 2 } as const;

/** In `seen` while a worker comes: not `NOBODY`, and not what is wanted. */
const ENTERING = -2;

/** A gate from the worker's side: `kind` is as of the last look. */
function makeLook(block: Int32Array, attach: (packed: boolean) => void): { kind: number; seen: number; look(): void } {
  const gate = {
    kind: KIND.closed as number,
    seen: 0,
    look() {
      const wanted = Atomics.load(block, BLOCK.wanted);
      gate.seen = wanted;
      gate.kind = KIND.closed;
      if (isOpen(wanted)) {
        const packed = (block[BLOCK.flags] & RING_F.packed) !== 0;
        attach(packed);
        gate.kind = packed ? KIND.packed : KIND.split;
      }
      // From here on the main thread may change what is behind a closed gate.
      Atomics.store(block, BLOCK.seen, wanted);
    },
  };
  // First that somebody is here, then what is wanted: whoever closes the gate meanwhile waits for us.
  Atomics.store(block, BLOCK.seen, ENTERING);
  gate.look();
  return gate;
}

/** Makes an rx queue. */
export function makeRxQueue(plan: QueuePlan, context: QueueContext): RxQueue {
  const world = makeWorld(plan, context);
  const { block, regions } = world;
  const rarp = makeRarp(world);
  const split = makeSplitRx(world);
  const packed = makePackedRx(world);
  const gate = makeLook(block, (isPacked) => {
    regions.attach();
    (isPacked ? packed : split).attach();
  });
  return {
    // A ring that is only polled (vhost-user.rst, SET_VRING_KICK without an fd) has nothing to wait for.
    get fd() {
      return gate.kind !== KIND.closed && (block[BLOCK.flags] & RING_F.polled) !== 0 ? -1 : plan.fd;
    },
    patient: false,
    segments: segmentsOf(plan.maxLength, context.stack.room) > 1,
    receive(burst) {
      if (block[BLOCK.rarp] !== 0) return rarp(burst);
      if (block[BLOCK.wanted] !== gate.seen) gate.look();
      if (gate.kind === KIND.split) return split.receive(burst);
      if (gate.kind === KIND.packed) return packed.receive(burst);
      burst.count = 0;
      return 0;
    },
    // The guest goes on sending whatever we do: what it has sent is still taken.
    quiesce() {},
    arm() {
      if (block[BLOCK.wanted] !== gate.seen) gate.look();
      if (gate.kind === KIND.split) return split.arm();
      return gate.kind === KIND.packed && packed.arm();
    },
    disarm() {
      // A gate that has closed since has taken the ring with it.
      if (block[BLOCK.wanted] !== gate.seen) return;
      if (gate.kind === KIND.split) split.disarm();
      else if (gate.kind === KIND.packed) packed.disarm();
    },
  };
}

/** Makes a tx queue. */
export function makeTxQueue(plan: QueuePlan, context: QueueContext): TxQueue {
  const world = makeWorld(plan, context);
  const { block, regions } = world;
  const split = makeSplitTx(world);
  const packed = makePackedTx(world);
  const gate = makeLook(block, (isPacked) => {
    regions.attach();
    (isPacked ? packed : split).attach();
  });
  return {
    transmit(burst, from, to) {
      if (block[BLOCK.wanted] !== gate.seen) gate.look();
      if (gate.kind === KIND.split) return split.transmit(burst, from, to);
      if (gate.kind === KIND.packed) return packed.transmit(burst, from, to);
      return 0;
    },
    kick() {
      if (block[BLOCK.wanted] !== gate.seen) return;
      if (gate.kind === KIND.split) split.kick();
      else if (gate.kind === KIND.packed) packed.kick();
    },
    reclaim() {
      if (block[BLOCK.wanted] !== gate.seen) gate.look();
      // Frames are copied: none is ever in flight.
      return 0;
    },
  };
}

/** Plays a guest on scratch memory: see `warm-up.ts`. */
export function warmUp(context: QueueContext): void {
  warmUpWith(context, makeRxQueue, makeTxQueue);
}
