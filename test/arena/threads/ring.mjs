// One end of a ring. The producer sends the numbers 1 … total as offsets, with a length made from each; the consumer
// checks them. Either takes breaks at random. The consumer sleeps when the ring is empty, until it is woken.
import { parentPort, workerData } from 'node:worker_threads';
import { indexAccess } from '../../../dist/lib/arena/order.js';
import { makeRingConsumer, makeRingProducer } from '../../../dist/lib/arena/ring.js';

const { memory, at, size, total, arch, role, wakeAt, naps } = workerData;
const wake = new Int32Array(memory, wakeAt, 1);
const access = indexAccess(arch);
const lengthOf = (offset) => (offset * 31) & 0xffff;

function dawdle() {
  if (Math.random() < naps) for (let i = Math.random() * 20_000; i > 0; i--);
}

function produce() {
  const ring = makeRingProducer(memory, at, size, access);
  let next = 1;
  let kicks = 0;
  while (next <= total) {
    const wanted = 1 + Math.floor(Math.random() * 40);
    const n = Math.min(wanted, ring.room(wanted), total - next + 1);
    for (let i = 0; i < n; i++, next++) ring.put(next, lengthOf(next));
    if (n > 0) ring.publish();
    if (ring.wanted()) {
      kicks++;
      Atomics.add(wake, 0, 1);
      Atomics.notify(wake, 0);
    }
    dawdle();
  }
  return { kicks };
}

function consume() {
  const ring = makeRingConsumer(memory, at, size, access);
  const burst = { size: 32, offsets: new Int32Array(32), lengths: new Int32Array(32), count: 0 };
  let next = 1;
  let sleeps = 0;
  let wrong = 0;
  let overslept = 0;
  while (next <= total) {
    const n = ring.take(burst);
    for (let i = 0; i < n; i++, next++) if (burst.offsets[i] !== next || burst.lengths[i] !== lengthOf(next)) wrong++;
    dawdle();
    if (n > 0) continue;
    const before = Atomics.load(wake, 0);
    if (!ring.arm()) {
      sleeps++;
      // Nobody sleeps that long while the producer has something to send: only a lost wake-up takes a second.
      if (Atomics.wait(wake, 0, before, 1000) === 'timed-out') overslept++;
    }
    ring.disarm();
  }
  return { wrong, sleeps, overslept };
}

parentPort.postMessage(role === 'producer' ? produce() : consume());
