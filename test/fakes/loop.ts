/** What a worker's loop works on, for tests of the loop alone: control words, queues and system calls that keep a journal. */
import type { Clock, RxQueue, TxQueue } from '../../lib/queue.ts';
import type { Native } from '../../native/index.ts';
import { CONTROL, CONTROL_BYTES } from '../../workers/control.ts';
import type { PollMode, WorkerPlan } from '../../workers/plan.ts';

/** The control block lies somewhere in the arena, not at its start. */
const CONTROL_AT = 4096;

/** One worker's surroundings. */
export interface FakeWorker {
  readonly plan: WorkerPlan;
  readonly clock: Clock;
  readonly native: Native;
  /** The control words, as the main thread sees them. */
  readonly words: Int32Array;
  /** What was called, in order. */
  readonly journal: string[];
  /** Nanoseconds that the clock shows; each look at it takes `tickNs`. */
  time: { now: number; tickNs: number };
  /** Called instead of sleeping; returns how many eventfds are ready. */
  onWait: (us: number) => number;
}

/** Makes them for poll mode `mode`. */
export function fakeWorker(mode: PollMode, idleUs = 100): FakeWorker {
  const buffer = new SharedArrayBuffer(CONTROL_AT + CONTROL_BYTES);
  const journal: string[] = [];
  const time = { now: 0, tickNs: 1000 };
  const worker: FakeWorker = {
    plan: { wasm: { buffer }, control: CONTROL_AT, mode, idleUs, epoll: 7 } as unknown as WorkerPlan,
    clock: {
      words: new Int32Array(4),
      now() {
        time.now += time.tickNs;
        return time.now;
      },
      utc() {},
    },
    native: {
      epollWait(epoll: number, us: number) {
        journal.push(`wait ${epoll} ${us}`);
        return worker.onWait(us);
      },
      epollWatch(epoll: number, fd: number, on: boolean) {
        journal.push(`${on ? 'watch' : 'leave'} ${epoll} ${fd}`);
        return 0;
      },
    } as unknown as Native,
    words: new Int32Array(buffer, CONTROL_AT, CONTROL.counters),
    journal,
    time,
    onWait: () => 0,
  };
  return worker;
}

/** An rx queue that notes when it is armed and disarmed. `waiting` is what `arm` finds. */
export function armedRx(journal: string[], name: string, waiting: () => boolean = () => false, fd = 3): RxQueue {
  return {
    fd,
    patient: false,
    receive: () => 0,
    quiesce() {},
    arm() {
      journal.push(`arm ${name}`);
      return waiting();
    },
    disarm() {
      journal.push(`disarm ${name}`);
    },
  };
}

/** A tx queue that notes when it is kicked and reclaimed. */
export function notedTx(journal: string[], name: string): TxQueue {
  return {
    transmit: () => 0,
    kick() {
      journal.push(`kick ${name}`);
    },
    reclaim() {
      journal.push(`reclaim ${name}`);
      return 0;
    },
  };
}
