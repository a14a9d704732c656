// The moment that loses wake-ups, over and over: the producer publishes while the consumer is about to sleep. Round by
// round both do their part at once, and say what they saw.
import { parentPort, workerData } from 'node:worker_threads';
import { indexAccess } from '../../../dist/lib/arena/order.js';
import { makeRingConsumer, makeRingProducer } from '../../../dist/lib/arena/ring.js';

const { memory, at, size, rounds, arch, role, gatesAt, sawAt, ms } = workerData;
const me = role === 'producer' ? 0 : 1;
const gates = new Int32Array(memory, gatesAt, 64);
const STOP = 16;
const saw = new Uint8Array(memory, sawAt + me * rounds, rounds);
const access = indexAccess(arch);
const ring = me === 0 ? makeRingProducer(memory, at, size, access) : makeRingConsumer(memory, at, size, access);
const burst = { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };

/** Waits until the other has come as far. */
function meet(step) {
  Atomics.store(gates, me * 32, step);
  while (gates[(1 - me) * 32] < step);
}

function produce() {
  ring.put(64, 60);
  ring.publish();
  return ring.wanted() ? 1 : 0;
}

/** Returns false when the time is up: the producer decides, for both. */
function round(i) {
  if (me === 0) ring.room(1);
  if (me === 0 && performance.now() > end) gates[STOP] = 1;
  meet(2 * i + 1);
  if (gates[STOP] === 1) return false;
  for (let k = (i * 7) & 15; k > 0; k--);
  saw[i] = me === 0 ? produce() : ring.arm() ? 1 : 0;
  meet(2 * i + 2);
  if (me === 0) return true;
  ring.disarm();
  ring.take(burst);
  return true;
}

const end = performance.now() + ms;
let i = 0;
while (i < rounds && round(i)) i++;
parentPort.postMessage(i);
