/** Fakes of everything that one registers with a framework. Each keeps what it was asked, and can be told to misbehave. */
import { Framework, type FrameworkOptions } from '../../lib/framework/framework.ts';
import type {
  Api,
  ClassHost,
  Device,
  DeviceFacts,
  Devio,
  DevioProvider,
  Driver,
  Enumerator,
  EnumeratorClass,
  EnumeratorHost,
  FrameworkEvent,
  UnbindOptions,
} from '../../lib/framework/types.ts';
import { FRAMEWORK_API } from '../../lib/framework/types.ts';
import type {
  Capability,
  LinkInfo,
  Pktio,
  PortConfig,
  PortState,
  PortStats,
  Queues,
  Succession,
} from '../../lib/pktio/types.ts';

/** The api of the fake enumerators, and the one that the fake devios offer, unless a test says otherwise. */
export const BUS: Api = { name: 'fake-bus', version: 1 };
export const IO: Api = { name: 'fake-io', version: 1 };

/** Calls of foreign code, in the order in which they were made: `driver:probe`. */
export type Journal = string[];

/** May replace, delay or fail a callback. */
type Behaviour<A extends unknown[] = []> = (...args: A) => unknown;

/** A promise that settles when it is told to. */
export function deferred<T = void>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (e: Error) => void } {
  let resolve: (value: T) => void = () => {};
  let reject: (e: Error) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** A callback that never comes back. */
export const hang = (): Promise<never> => new Promise(() => {});

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const none = { min: 0, max: 0 };

/** A port without queues. */
export class FakePktio implements Pktio {
  readonly name: string;
  readonly driver: string;
  state: PortState = 'stopped';
  stops = 0;
  closes = 0;
  onStop: Behaviour = () => {};
  onClose: Behaviour = () => {};
  readonly journal: Journal;
  readonly config: PortConfig = { rxQueues: 0, txQueues: 0, rxRing: 0, txRing: 0, mtu: 0, promiscuous: false, mac: '' };
  readonly capability: Capability = {
    ...{ rxQueues: none, txQueues: none, rxRing: none, txRing: none, mtu: none, segments: 1 },
    ...{
      setMac: false,
      setPromiscuous: false,
      interrupts: false,
      patient: false,
      finite: false,
      internal: false,
      hosts: false,
    },
  };
  readonly queues: Queues = { rx: [], tx: [] };
  readonly mac = new Uint8Array(6);
  readonly mtu = 0;
  readonly finished = false;

  constructor(name: string, driver: string, journal: Journal = []) {
    this.name = name;
    this.driver = driver;
    this.journal = journal;
  }

  async start(): Promise<void> {
    this.state = 'started';
  }

  async stop(): Promise<void> {
    this.stops++;
    this.journal.push('pktio:stop');
    await this.onStop();
    this.state = 'stopped';
  }

  async close(): Promise<void> {
    this.closes++;
    this.journal.push('pktio:close');
    await this.onClose();
    this.state = 'closed';
  }

  /** Present when its driver makes ports that can be taken over. */
  succeed?: (by: Succession) => Promise<boolean>;

  configure(): void {}
  setMac(): void {}
  setPromiscuous(): void {}
  link(): LinkInfo {
    return { status: 'unknown', speed: 0, duplex: 'unknown', autoneg: false, media: '' };
  }
  async flush(): Promise<void> {}
  stats(): PortStats {
    return { rx: {}, tx: {} };
  }
  queueStats(): Record<string, bigint> {
    return {};
  }
  clearStats(): void {}
  on(): this {
    return this;
  }
  off(): this {
    return this;
  }
}

/** An open way to nowhere. */
export class FakeDevio implements Devio {
  readonly api: Api;
  readonly backend: string;
  closes = 0;
  forces = 0;
  readonly #provider: FakeDevioProvider;

  constructor(provider: FakeDevioProvider) {
    this.#provider = provider;
    this.api = provider.api;
    this.backend = provider.backend;
  }

  async close(): Promise<void> {
    this.closes++;
    this.#provider.journal.push('devio:close');
    await this.#provider.onClose(this);
  }

  async force(): Promise<void> {
    this.forces++;
    this.#provider.journal.push('devio:force');
    await this.#provider.onForce(this);
  }
}

interface Info {
  readonly name?: string;
  readonly version?: string;
  readonly frameworkApi?: number;
  readonly journal?: Journal;
}

/** Opens fake devios and keeps them. */
export class FakeDevioProvider implements DevioProvider {
  readonly name: string;
  readonly version: string;
  readonly frameworkApi: number;
  readonly api: Api;
  readonly backend: string;
  readonly enumeratorApi: Api;
  readonly journal: Journal;
  readonly opened: FakeDevio[] = [];
  /** Ids of the devices that it was asked about. */
  readonly asked: string[] = [];
  stops = 0;
  onUsable: (device: Device) => true | string | Promise<true | string> = () => true;
  onOpen: Behaviour<[Device]> = () => {};
  onClose: Behaviour<[FakeDevio]> = () => {};
  onForce: Behaviour<[FakeDevio]> = () => {};
  onStop: Behaviour = () => {};

  constructor(options: Info & { readonly api?: Api; readonly backend?: string; readonly enumeratorApi?: Api } = {}) {
    this.name = options.name ?? 'fake-devio';
    this.version = options.version ?? '1.0.0';
    this.frameworkApi = options.frameworkApi ?? FRAMEWORK_API;
    this.api = options.api ?? IO;
    this.backend = options.backend ?? 'memory';
    this.enumeratorApi = options.enumeratorApi ?? BUS;
    this.journal = options.journal ?? [];
  }

  usable(device: Device): true | string | Promise<true | string> {
    this.asked.push(device.id);
    this.journal.push(`${this.backend}:usable`);
    return this.onUsable(device);
  }

  async open(device: Device): Promise<Devio> {
    this.journal.push(`${this.backend}:open`);
    await this.onOpen(device);
    const devio = new FakeDevio(this);
    this.opened.push(devio);
    return devio;
  }

  async stop(): Promise<void> {
    this.stops++;
    this.journal.push(`${this.backend}:stop`);
    await this.onStop();
  }
}

/** Takes every device of the class `fake`, and keeps what it was asked and what it made. */
export class FakeDriver implements Driver {
  readonly name: string;
  readonly version: string;
  readonly frameworkApi: number;
  readonly enumeratorClass: Driver['enumeratorClass'];
  readonly ids: Driver['ids'];
  readonly devios: readonly Api[];
  readonly priority: number;
  readonly journal: Journal;
  readonly probes: { readonly device: Device; readonly devio: Devio; readonly index: number }[] = [];
  readonly pktios: FakePktio[] = [];
  /** What it was handed over. */
  readonly taken: unknown[] = [];
  readonly handover?: string;
  readonly succeed?: NonNullable<Driver['succeed']>;
  stops = 0;
  onProbe: Behaviour<[Device, Devio, number]> = () => {};
  onStop: Behaviour = () => {};

  constructor(
    options: Info & Partial<Pick<Driver, 'enumeratorClass' | 'ids' | 'devios' | 'priority' | 'handover'>> = {},
  ) {
    this.name = options.name ?? 'driver';
    this.version = options.version ?? '1.0.0';
    this.frameworkApi = options.frameworkApi ?? FRAMEWORK_API;
    this.enumeratorClass = options.enumeratorClass ?? 'fake';
    this.ids = options.ids ?? [{}];
    this.devios = options.devios ?? [IO];
    this.priority = options.priority ?? 0;
    this.journal = options.journal ?? [];
    if (options.handover === undefined) return;
    this.handover = options.handover;
    this.succeed = (device, _devio, _index, state) => {
      this.journal.push(`${this.name} ${this.version}:succeed`);
      this.taken.push(state);
      return this.make(device);
    };
  }

  private make(device: Device): FakePktio {
    const pktio = new FakePktio(device.address, this.name, this.journal);
    this.pktios.push(pktio);
    return pktio;
  }

  async probe(device: Device, devio: Devio, index: number): Promise<Pktio> {
    this.probes.push({ device, devio, index });
    this.journal.push(`${this.name}:probe`);
    await this.onProbe(device, devio, index);
    return this.make(device);
  }

  async stop(): Promise<void> {
    this.stops++;
    this.journal.push(`${this.name}:stop`);
    await this.onStop();
  }
}

/** Adds `addresses` when it starts; adds and removes devices when it is told to. */
export class FakeEnumerator implements Enumerator {
  readonly name: string;
  readonly version: string;
  readonly frameworkApi: number;
  readonly api: Api;
  readonly addresses: readonly string[];
  readonly journal: Journal;
  host: EnumeratorHost | undefined;
  stops = 0;
  onStart: Behaviour<[EnumeratorHost]> = () => {};
  onStop: Behaviour = () => {};

  constructor(options: Info & { readonly api?: Api; readonly addresses?: readonly string[] } = {}) {
    this.name = options.name ?? 'bus';
    this.version = options.version ?? '1.0.0';
    this.frameworkApi = options.frameworkApi ?? FRAMEWORK_API;
    this.api = options.api ?? BUS;
    this.addresses = options.addresses ?? [];
    this.journal = options.journal ?? [];
  }

  async start(host: EnumeratorHost): Promise<void> {
    this.journal.push(`${this.name}:start`);
    this.host = host;
    for (const address of this.addresses) this.plug(address);
    await this.onStart(host);
  }

  async stop(): Promise<void> {
    this.stops++;
    this.journal.push(`${this.name}:stop`);
    await this.onStop();
  }

  plug(address: string, facts: DeviceFacts = {}): void {
    this.host?.addDevice({ address, facts });
  }

  unplug(address: string, options?: UnbindOptions): Promise<void> {
    return this.host?.removeDevice(address, options) ?? Promise.resolve();
  }
}

/** An enumerator that makes devices for port names `toy:…`. */
export class FakePortEnumerator extends FakeEnumerator {
  readonly portNames = 'toy:NAME';
  onRequest: (portName: string) => void = () => {};

  request(portName: string): string | undefined {
    if (!portName.startsWith('toy:')) return undefined;
    this.onRequest(portName);
    this.plug(portName);
    return portName;
  }
}

/** Starts the enumerators that it was given. */
export class FakeClass implements EnumeratorClass {
  readonly name: string;
  readonly version: string;
  readonly frameworkApi: number;
  readonly enumerators: readonly Enumerator[];
  readonly journal: Journal;
  host: ClassHost | undefined;
  stops = 0;
  onStart: Behaviour<[ClassHost]> = () => {};
  onStop: Behaviour = () => {};

  constructor(options: Info & { readonly enumerators?: readonly Enumerator[] } = {}) {
    this.name = options.name ?? 'fake';
    this.version = options.version ?? '1.0.0';
    this.frameworkApi = options.frameworkApi ?? FRAMEWORK_API;
    this.enumerators = options.enumerators ?? [];
    this.journal = options.journal ?? [];
  }

  async start(host: ClassHost): Promise<void> {
    this.journal.push(`${this.name}:start`);
    this.host = host;
    for (const enumerator of this.enumerators) host.addEnumerator(enumerator);
    await this.onStart(host);
  }

  async stop(): Promise<void> {
    this.stops++;
    this.journal.push(`${this.name}:stop`);
    await this.onStop();
  }
}

/** A framework with one of each, sharing a journal; nothing is started. The deadlines are short. */
export function makeWorld(options: FrameworkOptions & { readonly addresses?: readonly string[] } = {}) {
  const { addresses = ['a'], ...limits } = options;
  const journal: Journal = [];
  const deadlines = { unbindDeadlineMs: 40, forceDeadlineMs: 40, callbackDeadlineMs: 40 };
  const framework = new Framework({ ...deadlines, ...limits });
  const bus = new FakeEnumerator({ addresses, journal });
  const kind = new FakeClass({ enumerators: [bus], journal });
  const io = new FakeDevioProvider({ journal });
  const driver = new FakeDriver({ journal });
  const events: FrameworkEvent[] = [];
  framework.on((event) => void events.push(event));
  framework.registerClass(kind);
  framework.registerDevio(io);
  framework.registerDriver(driver);
  /** The device at an address of `bus`. */
  const at = (address: string): Device => {
    const device = framework.device(`fake/bus/${address}`);
    if (device === undefined) throw new Error(`there is no device ${address}`);
    return device;
  };
  return { framework, journal, bus, kind, io, driver, events, at };
}

/** One line per event: its type, and what it is about. */
export function eventLines(events: readonly FrameworkEvent[]): string[] {
  return events.map((event) => {
    if (event.type === 'error') return `error ${event.source} ${codeOf(event.error)}`;
    if ('enumerator' in event) return `${event.type} ${event.class}/${event.enumerator}`;
    return `${event.type} ${event.device.id}`;
  });
}

/** The code of an error, or its message when it has none. */
export function codeOf(error: Error): string {
  return 'code' in error ? String(error.code) : error.message;
}

/** The error that a promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<Error> {
  const nothing = Symbol('nothing');
  const error: unknown = await promise.then(
    () => nothing,
    (e: unknown) => e,
  );
  if (error instanceof Error) return error;
  throw new Error('it was expected to reject with an Error');
}

/** The code of the error that `act` throws. */
export function refusal(act: () => void): string {
  try {
    act();
  } catch (error) {
    if (error instanceof Error) return codeOf(error);
  }
  throw new Error('it was expected to throw an Error');
}
