/** The `pcap` driver: a port that replays a capture file and records what it is sent. Control half. */

import { readCounters } from '../../arena/counters.ts';
import { interfaceDescription, interfaceStatistics, sectionHeader } from '../../capture/encode.ts';
import { writeAll } from '../../capture/sink.ts';
import { ownSection } from '../../capture/writer.ts';
import { inTime } from '../../deadline.ts';
import { asMemoryDevio, MEMORY_API, type MemoryDevio } from '../../devios/memory.ts';
import { PortError } from '../../errors.ts';
import { type Device, type Driver, FRAMEWORK_API } from '../../framework/types.ts';
import {
  emptyHandle,
  L2_OVERHEAD,
  MEMORY_QUEUES,
  macOf,
  planQueue,
  queueModule,
  times,
} from '../../pktio/memory-port.ts';
import { Port } from '../../pktio/port.ts';
import type {
  Capability,
  LinkInfo,
  PortConfig,
  PortDevice,
  PortEvents,
  QueueHandle,
  Queues,
} from '../../pktio/types.ts';
import { MAX_SEGMENTS, type QueuePlan, TX } from '../../queue.ts';
import { BlockRing } from './block-ring.ts';
import { type Locks, OutputFile, openReplayFile } from './files.ts';
import { ringBytes, ringWords } from './layout.ts';
import { RecordRing } from './record-ring.ts';
import { Recorder } from './recorder.ts';
import { Replay, type ReplayFile } from './replay.ts';
import { RX_NAMES } from './rx-queue.ts';
import { TX_NAMES } from './tx-queue.ts';

const CLOSE_MS = 5000;
const NS_PER_MS = 1_000_000n;

/** What a port name asked for: the facts that the `file` enumerator states. */
interface Request {
  readonly in: string;
  readonly out: string;
  readonly loops: number;
  readonly timed: boolean;
}

/** What exists while the port is started. */
interface Started {
  readonly offsets: number[];
  readonly plans: QueuePlan[];
  readonly since: bigint;
  replay?: Replay;
  recorder?: Recorder;
  output?: OutputFile;
}

const now = (): bigint => BigInt(Date.now()) * NS_PER_MS;

class PcapDevice implements PortDevice {
  readonly driver = 'pcap';
  readonly capability: Capability;
  readonly defaults: PortConfig;
  private readonly name: string;
  private readonly request: Request;
  private readonly devio: MemoryDevio;
  private readonly locks: Locks;
  private readonly input: ReplayFile | undefined;
  private events: PortEvents | undefined;
  private started: Started | undefined;
  private failure: Error | undefined;
  /** Times that the port was started: a second start replays again, and appends a section to the output. */
  private starts = 0;

  constructor(name: string, request: Request, devio: MemoryDevio, locks: Locks, input: ReplayFile | undefined) {
    this.name = name;
    this.request = request;
    this.devio = devio;
    this.locks = locks;
    this.input = input;
    this.capability = {
      rxQueues: { min: 1, max: 1 },
      txQueues: { min: 1, max: MEMORY_QUEUES },
      rxRing: { min: 64, max: 16_384 },
      txRing: { min: 64, max: 16_384 },
      mtu: { min: 68, max: 65_000 },
      segments: MAX_SEGMENTS,
      setMac: true,
      setPromiscuous: false,
      interrupts: false,
      internal: false,
      hosts: false,
      patient: true,
      finite: request.loops > 0,
    };
    const queues = { rxQueues: 1, txQueues: 1, rxRing: 512, txRing: 512 };
    this.defaults = { ...queues, mtu: 1500, promiscuous: true, mac: macOf(name) };
  }

  attach(events: PortEvents): void {
    this.events = events;
  }

  link(): LinkInfo {
    const link = { status: 'up', speed: 0, duplex: 'full', autoneg: false, media: 'file' } as const;
    return this.failure === undefined ? link : { ...link, status: 'down', reason: this.failure.message };
  }

  async setup(config: PortConfig): Promise<Queues> {
    if (this.input !== undefined) this.requireUnread(this.input);
    const started: Started = { offsets: [], plans: [], since: now() };
    this.started = started;
    try {
      const rx = [this.rxHandle(config, started)];
      const rings: BlockRing[] = [];
      const tx = times(config.txQueues, (queue) => this.txHandle(config, started, queue, rings));
      // Last, because it empties the file: by now nothing else can fail.
      if (this.request.out !== '') await this.openOutput(this.request.out, started, rings);
      this.starts++;
      started.replay?.start();
      started.recorder?.start();
      this.linkAgain();
      return { rx, tx };
    } catch (error) {
      await this.release(started);
      throw error;
    }
  }

  finished(): boolean {
    // Without input there is nothing to wait for.
    return this.started?.replay?.finished ?? true;
  }

  async flush(): Promise<void> {
    await this.started?.recorder?.flush();
  }

  async teardown(): Promise<void> {
    const { started } = this;
    if (started === undefined) return;
    await started.replay?.stop();
    await started.recorder?.stop();
    await this.writeStatistics(started);
    await this.release(started);
  }

  async close(): Promise<void> {
    await this.input?.handle.close();
  }

  private rxHandle(config: PortConfig, started: Started): QueueHandle {
    const { loops, timed } = this.request;
    const words = this.input === undefined ? 0 : ringWords(config.rxRing, config.mtu + L2_OVERHEAD);
    const ring = this.allocateRing(words, started);
    const data = { ring, words, timed: Number(timed) };
    const plan = this.plan(config, started, 'rx', 0, data);
    if (this.input !== undefined) {
      const records = new RecordRing(this.devio.memory, ring, words, plan.maxLength);
      // A broken input ends only the reading: what was read goes on its way.
      started.replay = new Replay(this.input, records, { loops, timed }, (error) => this.events?.error(error, false));
    }
    return emptyHandle(plan);
  }

  private txHandle(config: PortConfig, started: Started, queue: number, rings: BlockRing[]): QueueHandle {
    const words = this.request.out === '' ? 0 : ringWords(config.txRing, config.mtu + L2_OVERHEAD);
    const ring = this.allocateRing(words, started);
    const plan = this.plan(config, started, 'tx', queue, { ring, words });
    if (words === 0) return emptyHandle(plan);
    const blocks = new BlockRing(this.devio.memory, ring, words, plan.counters);
    rings.push(blocks);
    return {
      plan,
      // Frames are copied, and free again, when they are accepted.
      held: () => [],
      settle: () => {},
      clear: () => {
        if (blocks.inFlight > 0) blocks.abandon(TX.stopped);
      },
    };
  }

  private allocateRing(words: number, started: Started): number {
    if (words === 0) return 0;
    const offset = this.devio.allocate(ringBytes(words));
    started.offsets.push(offset);
    return offset;
  }

  private plan(
    config: PortConfig,
    started: Started,
    direction: 'rx' | 'tx',
    queue: number,
    data: QueuePlan['data'],
  ): QueuePlan {
    const counterNames = direction === 'rx' ? RX_NAMES : TX_NAMES;
    const spec = { port: this.name, direction, queue, module: queueModule(import.meta.url), data, counterNames };
    const plan = planQueue(this.devio, config, spec);
    started.offsets.push(plan.counters);
    started.plans.push(plan);
    return plan;
  }

  private async openOutput(out: string, started: Started, rings: readonly BlockRing[]): Promise<void> {
    const output = await OutputFile.open(this.name, out, this.locks, this.starts > 0, this.input?.handle);
    started.output = output;
    const header = Buffer.concat([sectionHeader(ownSection()), interfaceDescription(this.name)]);
    await writeAll(output, header, 0, header.length);
    started.recorder = new Recorder(output, output.length + header.length, rings, (error) => this.outputFailed(error));
  }

  private linkAgain(): void {
    if (this.failure === undefined) return;
    this.failure = undefined;
    this.events?.link(this.link());
  }

  private outputFailed(error: Error): void {
    this.failure = error;
    this.events?.link(this.link());
    this.events?.error(error, true);
  }

  /** The section's last block, pcapng §4.6: what the port was sent, and how much of that is not in the file. */
  private async writeStatistics({ output, recorder, plans, since }: Started): Promise<void> {
    if (output === undefined || recorder === undefined || recorder.failed !== undefined) return;
    const counters = plans
      .filter((plan) => plan.direction === 'tx')
      .map((plan) => readCounters(this.devio.memory, plan.counters, plan.counterNames));
    const sum = (name: string) => counters.reduce((total, counter) => total + counter[name], 0n);
    const received = sum('packets');
    const block = interfaceStatistics(0, { time: now(), start: since, received, dropped: received - sum('completed') });
    try {
      await inTime(writeAll(output, block, 0, block.length), CLOSE_MS);
    } catch (error) {
      this.outputFailed(error as Error);
    }
  }

  private async release(started: Started): Promise<void> {
    this.started = undefined;
    try {
      if (started.output !== undefined) await inTime(started.output.close(), CLOSE_MS);
    } catch (error) {
      this.outputFailed(error as Error);
    } finally {
      for (const offset of started.offsets) this.devio.free(offset);
    }
  }

  /** A pipe's bytes come once. */
  private requireUnread(input: ReplayFile): void {
    if (input.regular || (this.starts === 0 && this.request.loops === 1)) return;
    throw new PortError('PORT_READ_ONCE', {
      what: `port ${this.name}`,
      why: `${input.name} is no regular file: it can be read only once`,
      fix: 'give loops=1 and open the port anew for each run, or save the capture to a file first',
    });
  }
}

function requestOf({ facts }: Device): Request {
  return {
    in: String(facts.in),
    out: String(facts.out),
    loops: Number(facts.loops),
    timed: facts.timing === 'original',
  };
}

/** Makes the driver. `locks` is the addon, or a part of it. */
export function pcapDriver(locks: Locks): Driver {
  return {
    name: 'pcap',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    enumeratorClass: 'file',
    ids: [{ kind: 'pcap' }],
    devios: [MEMORY_API],
    async probe(device, devio) {
      const memory = asMemoryDevio(devio);
      const request = requestOf(device);
      // Here, before any port is started: an input that another port would overwrite is locked by then.
      const input = request.in === '' ? undefined : await openReplayFile(device.address, request.in, locks);
      return new Port(device.address, memory.memory, new PcapDevice(device.address, request, memory, locks, input));
    },
  };
}
