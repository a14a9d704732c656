/**
 * The owner map of debug runs (LINECARD_DEBUG=frames): a byte per frame says who has it. Wraps a worker's stack and
 * queues and throws into the application, at the call that is wrong: a frame freed twice, sent twice, or not one's own.
 */
import { type FramesPlan, OWNER } from '../lib/arena/frames-plan.ts';
import { WorkerError } from '../lib/errors.ts';
import type { FrameStack, RxQueue, TxQueue } from '../lib/queue.ts';

/** Moves frames from owner to owner. */
export interface Owners {
  /** Frame at `offset` goes from an owner for whom `from` holds to `to`. Throws `FRAME_NOT_OWNED`. */
  move(offset: number, from: (owner: number) => boolean, to: number, action: string): void;
  readonly self: number;
}

const nameOf = (owner: number): string => {
  if (owner === OWNER.free) return 'free';
  return owner === OWNER.ring ? 'in a ring' : `held by worker ${owner - OWNER.held}`;
};

/** Makes worker `worker`'s access to the map of `plan`. */
export function makeOwners(memory: SharedArrayBuffer, plan: FramesPlan, worker: number): Owners {
  const map = new Uint8Array(memory, plan.owners, plan.count);
  return {
    self: OWNER.held + worker,
    move(offset, from, to, action) {
      const index = Math.floor((offset - plan.base) / plan.frameSize);
      const owner = map[index];
      if (owner !== undefined && from(owner)) {
        map[index] = to;
        return;
      }
      const why = owner === undefined ? 'there is no such frame' : `the frame is ${nameOf(owner)}`;
      throw new WorkerError(
        'FRAME_NOT_OWNED',
        {
          what: `${action} offset ${offset} in worker ${worker}`,
          why,
          fix: 'free or transmit each frame once, and none that transmit() has accepted',
        },
        { detail: { offset, owner: owner ?? -1, action, worker } },
      );
    },
  };
}

/** The application's end of the stack: takes free frames, gives back its own. */
export function ownedStack(stack: FrameStack, owners: Owners): FrameStack {
  const isFree = (owner: number) => owner === OWNER.free;
  const isMine = (owner: number) => owner === owners.self;
  return {
    room: stack.room,
    ask: (count) => stack.ask(count),
    pop() {
      const offset = stack.pop();
      if (offset !== 0) owners.move(offset, isFree, owners.self, 'allocate');
      return offset;
    },
    push(offset) {
      owners.move(offset, isMine, OWNER.free, 'free');
      stack.push(offset);
    },
    take(offsets, at, count) {
      const n = stack.take(offsets, at, count);
      for (let i = at; i < at + n; i++) owners.move(offsets[i], isFree, owners.self, 'allocate');
      return n;
    },
    give(offsets, from, to) {
      for (let i = from; i < to; i++) owners.move(offsets[i], isMine, OWNER.free, 'free');
      stack.give(offsets, from, to);
    },
  };
}

/** A driver's end of the stack: what it takes and gives is in its rings, not the application's. */
export function ringStack(stack: FrameStack, owners: Owners): FrameStack {
  const any = () => true;
  const mark = (offset: number, to: number) => owners.move(offset, any, to, 'driver');
  return {
    room: stack.room,
    ask: (count) => stack.ask(count),
    pop() {
      const offset = stack.pop();
      if (offset !== 0) mark(offset, OWNER.ring);
      return offset;
    },
    push(offset) {
      mark(offset, OWNER.free);
      stack.push(offset);
    },
    take(offsets, at, count) {
      const n = stack.take(offsets, at, count);
      for (let i = at; i < at + n; i++) mark(offsets[i], OWNER.ring);
      return n;
    },
    give(offsets, from, to) {
      for (let i = from; i < to; i++) mark(offsets[i], OWNER.free);
      stack.give(offsets, from, to);
    },
  };
}

/** Frames that are received become the worker's. */
export function ownedRx(rx: RxQueue, owners: Owners): RxQueue {
  const inRing = (owner: number) => owner === OWNER.ring;
  return {
    get fd() {
      return rx.fd;
    },
    onlyAsleep: rx.onlyAsleep ?? false,
    patient: rx.patient,
    segments: rx.segments,
    receive(burst) {
      const n = rx.receive(burst);
      for (let i = 0; i < n; i++) owners.move(burst.offsets[i], inRing, owners.self, 'receive');
      return n;
    },
    quiesce: () => rx.quiesce(),
    arm: () => rx.arm(),
    disarm: () => rx.disarm(),
  };
}

/** Frames that are accepted stop being the worker's; those that are refused stay. */
export function ownedTx(tx: TxQueue, owners: Owners): TxQueue {
  const isMine = (owner: number) => owner === owners.self;
  return {
    transmit(burst, from, to) {
      // Before the call: afterwards the other side may have freed them already.
      for (let i = from; i < to; i++) owners.move(burst.offsets[i], isMine, OWNER.ring, 'transmit');
      const n = tx.transmit(burst, from, to);
      for (let i = from + n; i < to; i++) owners.move(burst.offsets[i], () => true, owners.self, 'refuse');
      return n;
    },
    kick: () => tx.kick(),
    reclaim: () => tx.reclaim(),
  };
}
