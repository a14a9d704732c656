/** A driver outside of the package, as a user writes one who has installed it: nothing of ours but what is exported. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'linecard-driver-'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/linecard'));
});

afterEach(() => rmSync(folder, { recursive: true }));

/** `echo:NAME` receives what it sends, over one ring. */
const FILES: Readonly<Record<string, string>> = {
  'device.mjs': `
    import { makeCounters } from 'linecard/driver-queue';
    import { emptyHandle, memoryCapability, MemoryDevice, memoryDriver, queueModule, ringBytes, ringContents } from 'linecard/driver';
    import { TX } from 'linecard/queue';

    class EchoDevice extends MemoryDevice {
      driver = 'echo';
      capability = {
        ...memoryCapability, rxQueues: { min: 1, max: 1 }, txQueues: { min: 1, max: 1 }, interrupts: true, internal: true,
      };
      constructor(device, devio) {
        super(device, devio);
        this.fd = devio.eventfd();
      }
      setup(config) {
        const { memory } = this.devio;
        const size = config.txRing;
        const ring = this.allocate(ringBytes(size));
        const module = queueModule(import.meta.url);
        const plan = (direction) => this.plan(config, { direction, queue: 0, module, fd: this.fd, data: { ring, size } });
        const tx = plan('tx');
        const held = () => ringContents(memory, ring, size);
        const clear = () => {
          const left = held();
          makeCounters(memory, tx.counters)(TX.stopped, left.length);
          new Int32Array(memory, ring, ringBytes(size) / 4).fill(0);
        };
        return { rx: [emptyHandle(plan('rx'))], tx: [{ plan: tx, held, settle() {}, clear }] };
      }
    }

    export const echoDriver = () => memoryDriver('echo', (device, devio) => new EchoDevice(device, devio), 'echoes');
  `,
  'queue.mjs': `
    import { makeCounters, makeRingConsumer, makeRingProducer, MIN_FRAME_LENGTH, RX, TX } from 'linecard/driver-queue';

    export function makeRxQueue(plan, { memory }) {
      const count = makeCounters(memory, plan.counters);
      const ring = makeRingConsumer(memory, plan.data.ring, plan.data.size);
      let open = true;
      return {
        fd: plan.fd,
        patient: false,
        receive(burst) {
          const n = open ? ring.take(burst) : 0;
          burst.count = n;
          let bytes = 0;
          for (let i = 0; i < n; i++) bytes += burst.lengths[i];
          count(RX.packets, n);
          count(RX.bytes, bytes);
          return n;
        },
        quiesce() { open = false; },
        arm: () => ring.arm(),
        disarm: () => ring.disarm(),
      };
    }

    export function makeTxQueue(plan, { memory, stack, kick }) {
      const count = makeCounters(memory, plan.counters);
      const ring = makeRingProducer(memory, plan.data.ring, plan.data.size);
      let flying = ring.pending();
      const reclaim = () => {
        const pending = ring.pending();
        count(TX.completed, flying - pending);
        flying = pending;
        return pending;
      };
      return {
        transmit(burst, from, to) {
          const n = Math.min(ring.room(to - from), to - from);
          let bytes = 0;
          for (let i = from; i < from + n; i++) {
            const length = burst.lengths[i];
            if (length < MIN_FRAME_LENGTH || length > plan.maxLength) {
              stack.push(burst.offsets[i]);
              count(length < MIN_FRAME_LENGTH ? TX.runt : TX.oversize, 1);
              continue;
            }
            ring.put(burst.offsets[i], length);
            flying++;
            bytes += length;
          }
          ring.publish();
          count(TX.packets, n);
          count(TX.bytes, bytes);
          return n;
        },
        kick() { if (ring.wanted()) kick(plan.fd); },
        reclaim,
      };
    }

    export function warmUp() {}
  `,
  'run.mjs': `
    import { defineClass, memoryDevio, openEngine } from 'linecard';
    import { echoDriver } from './device.mjs';

    const engine = await openEngine({ mode: process.argv[2] });
    const api = { name: 'echo-names', version: 1 };
    let host;
    engine.framework.registerClass(defineClass({
      name: 'echoes',
      enumerators: [{
        name: 'echoes', api, portNames: 'echo:NAME', start: (given) => { host = given; },
        request(text) {
          if (!text.startsWith('echo:')) return undefined;
          host.addDevice({ address: text, facts: { kind: 'echo', ring: 256 } });
          return text;
        },
      }],
    }));
    engine.framework.registerDevio(memoryDevio(engine.arena, api));
    engine.framework.registerDriver(echoDriver());
    const port = await engine.open('echo:a');
    const run = await engine.run([
      { app: { module: 'gen', options: { count: 50_000 } }, tx: ['echo:a'] },
      { app: { module: 'sink' }, rx: { port: 'echo:a' } },
    ]);
    const { ledger, jobs, ports } = await run.done;
    console.log(JSON.stringify({
      driver: port.driver, errors: ledger.errors, balanced: ledger.balanced, ok: Number(jobs[1].counters.ok),
      sent: Number(ports['echo:a'].tx.packets), completed: Number(ports['echo:a'].tx.completed), received: Number(ports['echo:a'].rx.packets),
    }));
    await engine.close();
  `,
};

it.each(['adaptive', 'interrupt'])('a driver outside of the package carries packets to the last one (%s)', (mode) => {
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(folder, name), text);
  const output = execFileSync(process.execPath, ['run.mjs', mode], { cwd: folder, encoding: 'utf8', timeout: 18_000 });
  const all = { ok: 50_000, sent: 50_000, completed: 50_000, received: 50_000 };
  expect(JSON.parse(output)).toEqual({ driver: 'echo', errors: [], balanced: true, ...all });
});
