/**
 * What the virtio-net driver's queues cost by themselves: rx and tx queue in one thread with a device that only moves
 * indices and ids. `node dist/bench/virtio.js [split|packed] [burst] [ring] [mergeable|inOrder|eventIdx|checksum]…` prints nanoseconds per packet, received and sent.
 */
import { setFlagsFromString } from 'node:v8';
import { Arena } from '../lib/arena/arena.ts';
import { FramePool } from '../lib/arena/frame-pool.ts';
import { makeFrameStack } from '../lib/arena/frame-stack.ts';
import { stackBytes } from '../lib/arena/frames-plan.ts';
import { Gate } from '../lib/arena/gate.ts';
import { BLOCK, blockBytes } from '../lib/drivers/virtio-net/block.ts';
import type { Burst, QueueContext, QueueModule, QueuePlan } from '../lib/queue.ts';
import { DESC_F } from '../lib/virtio/ring.ts';
import { loadNative } from '../native/index.ts';

/** A device that uses every buffer at once, in order: `work` returns how many. */
type MakeDevice = (
  memory: SharedArrayBuffer,
  place: Place,
  size: number,
  length: number,
) => { work(most: number): number };
interface Place {
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
}

const splitDevice: MakeDevice = (memory, { desc, driver, device }, size, length) => {
  const i32 = new Int32Array(memory);
  const table = new Int32Array(memory, desc, size * 4);
  const avail = new Uint16Array(memory, driver, 2 + size);
  const used16 = new Uint16Array(memory, device, 2);
  const used = new Int32Array(memory, device + 4, size * 2);
  const mask = size - 1;
  let at = 0;
  used16[0] = 1;
  return {
    work(most) {
      let n = (avail[1] - at) & 0xffff;
      if (n > most) n = most;
      for (let i = 0; i < n; i = (i + 1) | 0) {
        const slot = (at + i) & mask;
        const id = avail[2 + slot];
        // num_buffers, as a device writes it.
        if (length > 0) i32[((table[id << 2] >>> 2) + 2) | 0] = 1 << 16;
        used[slot << 1] = id;
        used[(slot << 1) + 1] = length;
      }
      at = (at + n) & 0xffff;
      used16[1] = at;
      return n;
    },
  };
};

const packedDevice: MakeDevice = (memory, { desc, device }, size, length) => {
  const i32 = new Int32Array(memory);
  const words = new Int32Array(memory, desc, size * 4);
  new Int32Array(memory, device, 1)[0] = 1 << 16;
  const both = (DESC_F.AVAIL | DESC_F.USED) << 16;
  let at = 0;
  let avail = DESC_F.AVAIL << 16;
  return {
    work(most) {
      let n = 0;
      for (; n < most; n = (n + 1) | 0) {
        const word = words[(at << 2) + 3];
        if ((word & both) !== avail) break;
        if (length > 0) i32[((words[at << 2] >>> 2) + 2) | 0] = 1 << 16;
        words[(at << 2) + 2] = length;
        words[(at << 2) + 3] = (word & 0xffff) | (avail === DESC_F.AVAIL << 16 ? both : 0);
        at = (at + 1) | 0;
        if (at === size) {
          at = 0;
          avail ^= both;
        }
      }
      return n;
    },
  };
};

const SAMPLES = 4000;
const PER_SAMPLE = 8192;

async function main(kind: string, size: number, ring: number, features: readonly string[]): Promise<void> {
  setFlagsFromString('--max-inlined-bytecode-size=1500');
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=3000');
  const queue: QueueModule = await import(`../lib/drivers/virtio-net/${kind}-queue.js`);
  const arena = new Arena(loadNative());
  const pool = new FramePool(arena, { frames: 4096 });
  const { memory } = arena;
  const stack = makeFrameStack(memory, pool.plan, arena.allocate(stackBytes(pool.plan.count)), 0);
  const fail = (): never => {
    throw new Error('nobody is to be told');
  };
  const context: QueueContext = {
    memory,
    stack,
    pool: pool.plan,
    clock: { now: () => 0, utc() {}, words: new Int32Array(4) },
    kick: fail,
    kickTx: fail,
    kickRx: fail,
    scratch: fail,
  };
  const makeDevice = kind === 'split' ? splitDevice : packedDevice;
  const make = (direction: 'rx' | 'tx', length: number) => {
    const place = {
      desc: arena.allocate(16 * ring),
      driver: arena.allocate(8 + 2 * ring),
      device: arena.allocate(8 + 8 * ring),
    };
    const block = arena.allocate(blockBytes(ring));
    const on = (name: string) => Number(features.includes(name));
    const flags = {
      eventIdx: on('eventIdx'),
      inOrder: on('inOrder'),
      mergeable: on('mergeable'),
      checksum: on('checksum'),
    };
    const kick = { kickFd: -1, kickRegister: 0, kickValue: 0, kickWidth: 2, position: 0 };
    const plan: QueuePlan = {
      module: '',
      direction,
      port: 'bench',
      queue: 0,
      counters: arena.allocate(256),
      counterNames: [],
      fd: -1,
      maxLength: 1518,
      data: { size: ring, ...place, block, frameAddresses: 0, ...flags, ...kick },
    };
    const device = makeDevice(memory, place, ring, length);
    new Gate(memory, block + BLOCK.gate * 4, () => {}).set(true);
    return { plan, device };
  };
  const receiving = make('rx', 72);
  const sending = make('tx', 0);
  const rx = queue.makeRxQueue(receiving.plan, context);
  const tx = queue.makeTxQueue(sending.plan, context);
  const burst: Burst = { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
  const round = (): number => {
    receiving.device.work(size);
    const n = rx.receive(burst);
    const sent = tx.transmit(burst, 0, n);
    stack.give(burst.offsets, sent, n);
    tx.kick();
    sending.device.work(size);
    return n;
  };
  // Short samples: on a machine that others use, some of them are not interrupted.
  const samples: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    const start = performance.now();
    let packets = 0;
    while (packets < PER_SAMPLE) packets += round();
    samples.push(((performance.now() - start) * 1e6) / packets);
  }
  const late = samples.slice(SAMPLES / 4).sort((a, b) => a - b);
  const at = (share: number) => late[Math.floor((late.length - 1) * share)].toFixed(1);
  console.log(
    `${[kind, ...features].join(' ')}, burst ${size}, ring ${ring}: ns per packet, min ${at(0)}, p10 ${at(0.1)}, median ${at(0.5)}`,
  );
  arena.close();
}

const [kind = 'split', burst = '32', ring = '256', ...features] = process.argv.slice(2);
await main(kind, Number(burst), Number(ring), features);
