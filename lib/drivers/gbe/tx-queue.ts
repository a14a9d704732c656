/** Tx queue of a gigabit controller. Data half: see `queue.ts`. */
import { makeCounters } from '../../arena/counters.ts';
import { indexAccess, storeFence } from '../../arena/order.ts';
import { type QueueContext, type QueuePlan, TX, type TxQueue } from '../../queue.ts';
import { makeAddresses } from '../frame-addresses.ts';
import { BLOCK, openBlock } from './block.ts';
import { GBE_TX, type GbeQueueData } from './data.ts';
import { makeTurn } from './passage.ts';
import { TX_COMMAND, TX_DD, TX_SHORTEST } from './regs.ts';
import { makeTxPackets } from './tx-packets.ts';

const { head: HEAD, tail: TAIL, passed: PASSED, fence: FENCE, gate: WANTED } = BLOCK;
const { EOP, RS } = TX_COMMAND;
const shortest = TX_SHORTEST;

/** Makes a tx queue. */
export function makeTxQueue(plan: QueuePlan, context: QueueContext): TxQueue {
  const { memory, stack, pool } = context;
  const data = plan.data as GbeQueueData;
  const { size, paylen } = data;
  const command = data.command | EOP;
  const mask = size - 1;
  const { load } = indexAccess();
  const count = makeCounters(memory, plan.counters);
  const block = openBlock(memory, data.block, size);
  const { words, owner, stop } = block;
  const desc = new Int32Array(memory, data.ring, size * 4);
  const tailRegister = new Int32Array(memory, data.tail, 1);
  const { low, high } = makeAddresses(memory, data, pool);
  const { putPacket, put: given } = makeTxPackets(plan, context, block, count);
  const { frameSize } = pool;
  const inFrame = frameSize - 1;
  const most = plan.maxLength;
  const done = new Int32Array(size);
  let published = false;

  /** Takes back what the device has sent; returns how many are in flight. */
  function collect(): number {
    const head = words[HEAD];
    const tail = words[TAIL];
    let at = head;
    let n = 0;
    while (at !== tail) {
      // The device says of the last of a run that it is done, and takes descriptors in order: so are those before it.
      const next = stop[at & mask];
      if ((load(desc, ((((next - 1) & mask) << 2) + 3) | 0) & TX_DD) === 0) break;
      for (; at !== next; at = (at + 1) | 0) {
        done[n] = owner[at & mask];
        n = (n + 1) | 0;
      }
    }
    if (n === 0) return (tail - head) | 0;
    // Out of the ring first: should this thread be ended here, they are lost until they are swept, not had twice.
    words[HEAD] = at;
    stack.give(done, 0, n);
    count(TX.completed, n);
    return (tail - at) | 0;
  }

  const turn = makeTurn(words, {
    leave: () => void collect(),
    takeBack() {
      count(GBE_TX.lost, (words[TAIL] - words[HEAD]) | 0);
      while (words[HEAD] !== words[TAIL]) {
        const at = owner[words[HEAD] & mask];
        words[HEAD] = (words[HEAD] + 1) | 0;
        stack.push(at);
      }
    },
    resume() {
      published = true;
    },
  });
  turn();

  return {
    transmit(burst, from, to) {
      if (words[WANTED] !== words[PASSED] && !turn()) return 0;
      const { offsets, lengths } = burst;
      const end = to < lengths.length ? to : lengths.length;
      const wanted = (end - from) | 0;
      const tail = words[TAIL];
      // All but one: with all of them, full would look like empty.
      let room = (mask - ((tail - words[HEAD]) | 0)) | 0;
      if (room < wanted) room = (mask - collect()) | 0;
      const n = room < wanted ? room : wanted;
      if (n <= 0) return 0;
      const stopAt = (from + n) | 0;
      let put = 0;
      let extra = 0;
      let bytes = 0;
      let i = from;
      for (; i < stopAt; i = (i + 1) | 0) {
        const offset = offsets[i];
        const length = lengths[i];
        // Negative once a length is out of bounds, or the packet not in one frame.
        const bad = (length - shortest) | (most - length) | (frameSize - (offset & inFrame) - length);
        if (bad < 0) {
          const next = putPacket(burst, i, end, (tail + put) | 0, (room - put) | 0);
          if (next === i) break;
          put = (put + given[0]) | 0;
          bytes = (bytes + given[1]) | 0;
          extra = (extra + next - i - 1) | 0;
          i = (next - 1) | 0;
          continue;
        }
        const slot = (tail + put) & mask;
        const d = slot << 2;
        owner[slot] = offset;
        desc[d] = low(offset);
        desc[(d + 1) | 0] = high(offset);
        desc[(d + 2) | 0] = length | command;
        desc[(d + 3) | 0] = paylen === 0 ? 0 : length << paylen;
        bytes = (bytes + length) | 0;
        put = (put + 1) | 0;
      }
      if (put !== 0) {
        const next = (tail + put) | 0;
        const last = ((((next - 1) & mask) << 2) + 2) | 0;
        desc[last] = desc[last] | RS;
        stop[tail & mask] = next;
        // In our block first: whoever takes over after this tells the device.
        words[TAIL] = next;
        published = true;
      }
      const accepted = (i - from) | 0;
      count(TX.packets, (accepted - extra) | 0);
      count(TX.bytes, bytes);
      if (extra > 0) count(TX.extra_frames, extra);
      return accepted;
    },
    kick() {
      if (!published || words[PASSED] !== words[WANTED]) return;
      published = false;
      // Descriptors before the register: the device reads them once it sees it move. Stored plainly: docs/adr/0003.
      storeFence(words, FENCE, words[TAIL]);
      tailRegister[0] = words[TAIL] & mask;
    },
    reclaim() {
      if (words[WANTED] !== words[PASSED] && !turn()) return (words[TAIL] - words[HEAD]) | 0;
      return collect();
    },
  };
}
