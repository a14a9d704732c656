// Adds `n` to a counter for ever, at a random pace.
import { parentPort, workerData } from 'node:worker_threads';
import { makeCounters } from '../../../dist/lib/arena/counters.js';

const { memory, n } = workerData;
const count = makeCounters(memory, 0, 1);
parentPort.postMessage('running');
for (;;) {
  count(0, n);
  for (let pause = Math.random() * 32; pause > 0; pause--);
}
