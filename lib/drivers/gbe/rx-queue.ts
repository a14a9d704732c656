/** Rx queue of a gigabit controller. Data half: see `queue.ts`. */
import { makeCounters } from '../../arena/counters.ts';
import { indexAccess, storeFence } from '../../arena/order.ts';
import { MIN_FRAME_LENGTH, type QueueContext, type QueuePlan, RX, type RxQueue } from '../../queue.ts';
import { makeAddresses } from '../frame-addresses.ts';
import { BLOCK, openBlock } from './block.ts';
import { GBE_RX, type GbeQueueData } from './data.ts';
import { makeInterrupt } from './interrupt.ts';
import { makeTurn } from './passage.ts';
import { RX_STATUS } from './regs.ts';
import { makeRxPackets } from './rx-packets.ts';

const { head: HEAD, tail: TAIL, passed: PASSED, dropping: DROPPING, fence: FENCE, gate: WANTED } = BLOCK;
const { DD, EOP } = RX_STATUS;

/** Makes an rx queue. */
export function makeRxQueue(plan: QueuePlan, context: QueueContext): RxQueue {
  const { memory, stack } = context;
  const data = plan.data as GbeQueueData;
  const { size, statusWord, lengthWord, errors, segments } = data;
  const mask = size - 1;
  const { load } = indexAccess();
  const count = makeCounters(memory, plan.counters);
  const block = openBlock(memory, data.block, size);
  const { words, owner } = block;
  const desc = new Int32Array(memory, data.ring, size * 4);
  const tailRegister = new Int32Array(memory, data.tail, 1);
  const { low, high } = makeAddresses(memory, data, context.pool);
  const interrupt = makeInterrupt(data, context);
  const { takePacket, taken } = makeRxPackets(plan, context, block, count);
  const span = Math.min(plan.maxLength, data.buffer) - MIN_FRAME_LENGTH;
  // Done, the whole packet, and no error: what nearly every descriptor says.
  const judged = DD | EOP | errors;
  const plain = DD | EOP;
  const spare = new Int32Array(size);
  // As many are given back to the device at a time; an idle queue gives what it has.
  const batch = Math.max(1, Math.min(32, size >>> 2));

  /** Tells the device about all descriptors up to `tail`. */
  function tell(tail: number): void {
    // Descriptors before the register: the device reads them once it sees it move. Stored plainly: docs/adr/0003.
    storeFence(words, FENCE, tail);
    tailRegister[0] = tail & mask;
  }

  /** Gives the device buffers for all but one of its descriptors: with all of them, full would look like empty. */
  function refill(): void {
    const tail = words[TAIL];
    const n = stack.take(spare, 0, (mask - ((tail - words[HEAD]) | 0)) | 0);
    if (n === 0) return;
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const slot = (tail + i) & mask;
      const at = spare[i];
      const d = slot << 2;
      owner[slot] = at;
      desc[d] = low(at);
      desc[(d + 1) | 0] = high(at);
      desc[(d + 2) | 0] = 0;
      desc[(d + 3) | 0] = 0;
    }
    // In our block first: whoever takes over after this tells the device again.
    words[TAIL] = (tail + n) | 0;
    tell(words[TAIL]);
  }

  /** Whether the device has filled descriptor `index`. */
  const isDone = (index: number): boolean => (load(desc, (((index & mask) << 2) + statusWord) | 0) & DD) !== 0;

  const turn = makeTurn(words, {
    leave() {
      let n = 0;
      while (((words[HEAD] + n) | 0) !== words[TAIL] && isDone((words[HEAD] + n) | 0)) n = (n + 1) | 0;
      count(GBE_RX.lost, n);
    },
    takeBack() {
      while (words[HEAD] !== words[TAIL]) {
        const at = owner[words[HEAD] & mask];
        words[HEAD] = (words[HEAD] + 1) | 0;
        stack.push(at);
      }
    },
    resume() {
      refill();
      tell(words[TAIL]);
    },
  });
  turn();

  return {
    fd: plan.fd,
    patient: false,
    segments: segments > 1,
    receive(burst) {
      burst.count = 0;
      if (words[WANTED] !== words[PASSED] && !turn()) return 0;
      const { offsets, lengths, size: most } = burst;
      const head = words[HEAD];
      const posted = (words[TAIL] - head) | 0;
      const n = posted < most ? posted : most;
      let dropping = words[DROPPING];
      let kept = 0;
      let extra = 0;
      let bytes = 0;
      let i = 0;
      for (; i < n; i = (i + 1) | 0) {
        const slot = (head + i) & mask;
        const d = slot << 2;
        // Status before length: the device writes a descriptor whole, and what is done stays as it is.
        const status = load(desc, (d + statusWord) | 0);
        if ((status & DD) === 0) break;
        const length = desc[(d + lengthWord) | 0] & 0xffff;
        // One comparison for all bounds: too short wraps to a large unsigned number.
        if ((status & judged) !== plain || (length - MIN_FRAME_LENGTH) >>> 0 > span || dropping !== 0) {
          const gone = takePacket(burst, kept, (head + i) | 0, (posted - i) | 0);
          dropping = words[DROPPING];
          if (gone === 0) break;
          i = (i + gone - 1) | 0;
          kept = (kept + taken[0]) | 0;
          bytes = (bytes + taken[1]) | 0;
          if (taken[0] > 0) extra = (extra + taken[0] - 1) | 0;
          if (kept === most) {
            i = (i + 1) | 0;
            break;
          }
          continue;
        }
        offsets[kept] = owner[slot];
        lengths[kept] = length;
        bytes = (bytes + length) | 0;
        kept = (kept + 1) | 0;
      }
      if (i !== 0) {
        words[HEAD] = (head + i) | 0;
        burst.count = kept;
        count(RX.packets, (kept - extra) | 0);
        count(RX.bytes, bytes);
        if (extra > 0) count(RX.extra_frames, extra);
      }
      const missing = (mask - posted + i) | 0;
      // Without buffers the device receives nothing, so that nothing but this would ever give it some again.
      if (missing >= batch || (i === 0 && missing > 0)) refill();
      return kept;
    },
    quiesce() {},
    arm() {
      if (words[WANTED] !== words[PASSED] && !turn()) return false;
      interrupt.enable();
      return words[HEAD] !== words[TAIL] && isDone(words[HEAD]);
    },
    disarm: interrupt.disable,
  };
}
