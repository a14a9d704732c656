// A worker of several: takes frames, gives some back, hands some to the next worker, which gives them back. A byte per
// frame says who has it: a frame that two have at once is found at once.
import { parentPort, workerData } from 'node:worker_threads';
import { makeFrameStack } from '../../../dist/lib/arena/frame-stack.js';
import { makeRingConsumer, makeRingProducer } from '../../../dist/lib/arena/ring.js';

const { memory, plan, stack: at, self, moves, owners: ownersAt, out, incoming, ringSize, leftAt, workers } = workerData;
const stack = makeFrameStack(memory, plan, at, self);
const owners = new Uint8Array(memory, ownersAt, plan.count);
const left = new Int32Array(memory, leftAt, 1);
const next = makeRingProducer(memory, out, ringSize);
const previous = makeRingConsumer(memory, incoming, ringSize);
const burst = { size: 64, offsets: new Int32Array(64), lengths: new Int32Array(64), count: 0 };
const indexOf = (offset) => (offset - plan.base) >>> Math.log2(plan.frameSize);
const most = (n) => Math.floor(Math.random() * (n + 1));

let errors = 0;
const own = (offset, from, to) => {
  if (Atomics.exchange(owners, indexOf(offset), to) !== from) errors++;
};

function giveIncoming() {
  const n = previous.take(burst);
  for (let i = 0; i < n; i++) own(burst.offsets[i], 255, 0);
  stack.give(burst.offsets, 0, n);
  return n;
}

let taken = 0;
let short = 0;
while (taken < moves) {
  const wanted = 1 + most(63);
  let n = Math.random() < 0.1 ? 0 : stack.take(burst.offsets, 0, wanted);
  while (n < 4 && n < wanted) {
    const one = stack.pop();
    if (one === 0) break;
    burst.offsets[n++] = one;
  }
  if (n < wanted) short++;
  taken += n;
  for (let i = 0; i < n; i++) own(burst.offsets[i], 0, self + 1);
  // Some to the next worker, as far as there is room; the rest goes back, singly and in bursts.
  const away = Math.min(most(n), next.room(n));
  for (let i = 0; i < away; i++) {
    own(burst.offsets[i], self + 1, 255);
    next.put(burst.offsets[i], 0);
  }
  next.publish();
  for (let i = away; i < n; i++) own(burst.offsets[i], self + 1, 0);
  const singly = Math.min(n, away + most(3));
  for (let i = away; i < singly; i++) stack.push(burst.offsets[i] + most(1700));
  stack.give(burst.offsets, singly, n);
  if (Math.random() < 0.7) giveIncoming();
}
// The others may still send: what they sent is ours to give back.
Atomics.add(left, 0, 1);
while (Atomics.load(left, 0) < workers || giveIncoming() > 0) giveIncoming();
while (giveIncoming() > 0);
parentPort.postMessage({ errors, short, taken });
