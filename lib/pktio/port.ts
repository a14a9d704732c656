/** A port: settings, state and statistics around what a driver provides. Control half. */
import { EventEmitter } from 'node:events';
import { readCounters } from '../arena/counters.ts';
import { PortError } from '../errors.ts';
import { parseMac } from '../wire/mac.ts';
import { checkSettings } from './settings.ts';
import { addCounters, subtractCounters } from './stats.ts';
import type {
  Capability,
  Counters,
  LinkInfo,
  Pktio,
  PortConfig,
  PortDevice,
  PortState,
  PortStats,
  QueueHandle,
  Queues,
  Succession,
} from './types.ts';

type PortEventMap = { link: [LinkInfo]; error: [Error, boolean]; wake: []; stuck: [Error] };

/** Counters of queues, by number. */
interface QueueCounters {
  readonly rx: readonly Counters[];
  readonly tx: readonly Counters[];
}

/** What every driver's probe returns. `device` is the driver's side of it. */
export class Port extends EventEmitter<PortEventMap> implements Pktio {
  readonly name: string;
  private readonly memory: SharedArrayBuffer;
  private device: PortDevice;
  private settings: PortConfig;
  private current: PortState = 'stopped';
  private made: Queues = { rx: [], tx: [] };
  /** Counters of queues that are no more: a port's counters never go back when it is stopped and started. */
  private retired: PortStats = { rx: {}, tx: {} };
  /** Of the queues before these, one by one. */
  private last: QueueCounters = { rx: [], tx: [] };
  private baseline: PortStats = { rx: {}, tx: {} };
  /** What the device has changed by itself, for the next start. */
  private next: Partial<PortConfig> = {};
  /** Whose the reports of the device are. */
  private sink: { port: Port | undefined } = { port: this };
  /** What earlier releases of the driver counted. */
  private earlier: Counters = {};
  /** A start or stop that is under way. */
  private change: Promise<void> = Promise.resolve();
  private closing: Promise<void> | undefined;

  /** `running`: the device runs with these settings and queues, left by an earlier release of the driver. */
  constructor(
    name: string,
    memory: SharedArrayBuffer,
    device: PortDevice,
    running?: { readonly config: PortConfig; readonly queues: Queues },
  ) {
    super();
    this.name = name;
    this.memory = memory;
    this.device = device;
    this.settings = running?.config ?? device.defaults;
    if (running !== undefined) {
      this.current = 'started';
      this.made = running.queues;
    }
    this.attach();
  }

  private attach(): void {
    const { sink } = this;
    this.device.attach?.({
      link: (link) => sink.port?.tell('link', link),
      error: (error, fatal) => sink.port?.tell('error', error, fatal),
      wake: () => sink.port?.tell('wake'),
      stuck: (why) => sink.port?.tell('stuck', why),
      settings: (changed) => sink.port?.note(changed),
    });
  }

  get driver(): string {
    return this.device.driver;
  }

  get state(): PortState {
    return this.current;
  }

  /** Asked each time: an interface's MTU, and its queues, change while we look. */
  get capability(): Capability {
    return this.device.capability;
  }

  get config(): PortConfig {
    return this.settings;
  }

  get mac(): Uint8Array {
    return parseMac(this.settings.mac);
  }

  get mtu(): number {
    return this.settings.mtu;
  }

  get queues(): Queues {
    return this.made;
  }

  get finished(): boolean {
    return this.device.finished?.() ?? false;
  }

  configure(settings: Partial<PortConfig>): void {
    this.require('configure', 'stopped');
    this.settings = checkSettings(this.name, this.capability, this.settings, settings);
  }

  async start(): Promise<void> {
    this.require('start', 'stopped');
    this.current = 'starting';
    await this.track(this.setUp());
  }

  private note(settings: Partial<PortConfig>): void {
    this.next = { ...this.next, ...settings };
    if (this.current === 'stopped') this.follow();
  }

  private follow(): void {
    this.settings = { ...this.settings, ...this.next };
    this.next = {};
  }

  private async setUp(): Promise<void> {
    try {
      this.made = await this.device.setup(this.settings);
      this.current = 'started';
    } catch (error) {
      // What it made before it failed is released; the error that counts is the first.
      await attempt(() => this.device.teardown());
      this.current = 'stopped';
      this.follow();
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.require('stop', 'started');
    this.current = 'stopping';
    await this.track(this.tearDown());
  }

  private async tearDown(): Promise<void> {
    const queues = this.made;
    const errors = [
      await attempt(() => this.device.flush?.()),
      await attempt(() => {
        for (const queue of queues.tx) queue.clear();
      }),
    ];
    this.retired = this.total(queues);
    this.last = { rx: queues.rx.map((queue) => this.inAll(queue)), tx: queues.tx.map((queue) => this.inAll(queue)) };
    this.made = { rx: [], tx: [] };
    errors.push(await attempt(() => this.device.teardown()));
    this.current = 'stopped';
    this.follow();
    const failed = errors.find((e) => e !== undefined);
    if (failed !== undefined) throw failed.error;
  }

  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  private async shut(): Promise<void> {
    await this.change;
    const stopped = this.current === 'started' ? await attempt(() => this.stop()) : undefined;
    this.current = 'closed';
    const closed = await attempt(() => this.device.close());
    this.removeAllListeners();
    const failed = stopped ?? closed;
    if (failed !== undefined) throw failed.error;
  }

  async renew(): Promise<void> {
    this.require('renew the queues of', 'started');
    this.current = 'stopping';
    await this.track(this.renewQueues());
  }

  private async renewQueues(): Promise<void> {
    await this.tearDown();
    await this.setUpAfter(this.last);
  }

  /** The next queues go on counting where the last ones have left off. */
  private async setUpAfter(last: QueueCounters): Promise<void> {
    this.current = 'starting';
    await this.setUp();
    this.made = { rx: this.made.rx.map(after(last.rx)), tx: this.made.tx.map(after(last.tx)) };
  }

  async succeed(by: Succession): Promise<boolean> {
    this.require('exchange the driver of', 'stopped', 'started');
    const { device } = this;
    const state = this.current === 'started' && by.compatible ? device.handOver?.() : undefined;
    await this.track(state === undefined ? this.makeAnew(by) : this.takeOn(by, state));
    return state !== undefined;
  }

  /** The rings go on: the next device half begins where this one has left off. */
  private async takeOn(by: Succession, state: unknown): Promise<void> {
    const next = await this.successor(by.make({ state }));
    this.made = next.made;
    this.become(next);
  }

  /** The device is stopped, and set up by the next device half with the same settings. Counters go on. */
  private async makeAnew(by: Succession): Promise<void> {
    const started = this.current === 'started';
    if (started) {
      this.current = 'stopping';
      await this.tearDown();
    }
    const { last } = this;
    this.earlier = this.extraStats();
    await this.device.close();
    this.become(await this.successor(by.make()));
    const wanted = Object.entries(this.settings).filter(
      ([key, value]) => this.device.defaults[key as keyof PortConfig] !== value,
    );
    this.settings = checkSettings(this.name, this.capability, this.device.defaults, Object.fromEntries(wanted));
    if (started) await this.setUpAfter(last);
  }

  private async successor(made: Promise<Pktio>): Promise<Port> {
    const next = await made;
    if (next instanceof Port) return next;
    await next.close();
    const text = {
      what: `port ${this.name}`,
      why: "the driver's later release makes ports of its own kind",
      fix: 'open it again',
    };
    throw new PortError('NO_SUCCESSOR', text, { detail: { port: this.name } });
  }

  private become(next: Port): void {
    this.sink.port = undefined;
    this.device = next.device;
    this.sink = next.sink;
    this.sink.port = this;
  }

  /** Waits for `change`; so does `close`, whatever comes of it. */
  private async track(change: Promise<void>): Promise<void> {
    this.change = change.catch(() => {});
    await change;
  }

  setMac(mac: string): void {
    this.configure({ mac });
  }

  setPromiscuous(promiscuous: boolean): void {
    this.require('set promiscuous mode of', 'stopped', 'started');
    const settings = checkSettings(this.name, this.capability, this.settings, { promiscuous });
    this.device.setPromiscuous?.(promiscuous);
    this.settings = settings;
  }

  link(): LinkInfo {
    return this.device.link();
  }

  async flush(): Promise<void> {
    await this.device.flush?.();
  }

  stats(): PortStats {
    const { rx, tx } = this.total(this.made);
    return { rx: subtractCounters(rx, this.baseline.rx), tx: subtractCounters(tx, this.baseline.tx) };
  }

  queueStats(direction: 'rx' | 'tx', queue: number): Counters {
    const handle = this.made[direction][queue];
    if (handle !== undefined) return this.inAll(handle);
    throw new PortError('NO_SUCH_QUEUE', {
      what: `port ${this.name}: ${direction} queue ${queue}`,
      why: `it has ${this.made[direction].length} of them${this.current === 'started' ? '' : `, being ${this.current}`}`,
      fix: `start the port, with ${direction}Queues above ${queue}`,
    });
  }

  clearStats(): void {
    this.baseline = this.total(this.made);
  }

  extraStats(): Counters {
    return addCounters(this.earlier, this.device.extraStats?.() ?? {});
  }

  notes(): readonly string[] {
    return this.device.notes?.(this.settings) ?? [];
  }

  /** A listener's mistake is its own: it must not come back into the driver that reports something. */
  private tell<E extends keyof PortEventMap>(event: E, ...args: PortEventMap[E]): void {
    for (const listener of this.rawListeners(event) as ((...args: PortEventMap[E]) => void)[]) {
      try {
        listener.apply(this, args);
      } catch (error) {
        process.nextTick(() => {
          throw error;
        });
      }
    }
  }

  private total(queues: Queues): PortStats {
    const sum = (start: Counters, handles: readonly QueueHandle[]) =>
      handles.reduce((counters, handle) => addCounters(counters, this.read(handle)), start);
    return { rx: sum(this.retired.rx, queues.rx), tx: sum(this.retired.tx, queues.tx) };
  }

  /** Of a queue, and of those that were in its place before the driver was exchanged. */
  private inAll(handle: QueueHandle): Counters {
    return addCounters(handle.before ?? {}, this.read(handle));
  }

  private read({ plan }: QueueHandle): Counters {
    return readCounters(this.memory, plan.counters, plan.counterNames);
  }

  private require(action: string, ...states: PortState[]): void {
    if (states.includes(this.current)) return;
    throw new PortError(
      'WRONG_STATE',
      {
        what: `${action} port ${this.name}`,
        why: `it is ${this.current}`,
        fix: `do it while the port is ${states.join(' or ')}`,
      },
      { detail: { port: this.name, state: this.current } },
    );
  }
}

/** Gives each queue what the one before it has counted. */
const after =
  (last: readonly Counters[]) =>
  (handle: QueueHandle, i: number): QueueHandle => ({
    plan: handle.plan,
    before: last[i] ?? {},
    held: () => handle.held(),
    settle: () => handle.settle(),
    clear: () => handle.clear(),
  });

/** What went wrong with `action`, in a box: anything can be thrown. */
async function attempt(action: () => void | Promise<void>): Promise<{ readonly error: unknown } | undefined> {
  try {
    await action();
    return undefined;
  } catch (error) {
    return { error };
  }
}
