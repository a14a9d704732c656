/** Ports: what a driver's control half provides (`PortDevice`), and what an engine or application holds (`Pktio`). */
import type { QueuePlan } from '../queue.ts';

/** State of the link. `unknown` when the device cannot tell. */
export interface LinkInfo {
  readonly status: 'up' | 'down' | 'unknown';
  /** Mbit/s; 0 when there is no such thing. */
  readonly speed: number;
  readonly duplex: 'full' | 'half' | 'unknown';
  readonly autoneg: boolean;
  readonly media: string;
  /** Why it is down, when that is known. */
  readonly reason?: string;
}

/** What a port can be set to. A setting that is not in `Capability` is refused by name. */
export interface PortConfig {
  /** Number of queues. */
  readonly rxQueues: number;
  readonly txQueues: number;
  /** Descriptors per ring: a power of two. */
  readonly rxRing: number;
  readonly txRing: number;
  /** Largest layer 3 packet, in bytes: frames may have 18 more (Ethernet header and one VLAN tag). */
  readonly mtu: number;
  readonly promiscuous: boolean;
  /** Six bytes as `02:00:00:00:00:01`. */
  readonly mac: string;
}

/** Inclusive bounds. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** What a port can do. A range with min = max cannot be configured. */
export interface Capability {
  readonly rxQueues: Range;
  readonly txQueues: Range;
  readonly rxRing: Range;
  readonly txRing: Range;
  readonly mtu: Range;
  /** Most segments of a packet that does not fit one frame; 1: every packet must. */
  readonly segments: number;
  /** Whether these can be changed. */
  readonly setMac: boolean;
  readonly setPromiscuous: boolean;
  /** The queues can wake a sleeping worker. */
  readonly interrupts: boolean;
  /** Nothing is lost while nobody receives (a file, a generator). */
  readonly patient: boolean;
  /** The port ends by itself (a file that is read once). */
  readonly finite: boolean;
  /** What it receives was sent by a port of the same engine. */
  readonly internal: boolean;
  /** Other machines (or namespaces) are behind it, and talk to each other by their own addresses: a network interface. */
  readonly hosts: boolean;
}

/** Counters of one queue, by name. `packets` and `bytes` come first; the rest are the driver's reasons. */
export type Counters = Readonly<Record<string, bigint>>;

/** Counters of a port: sums over its queues. */
export interface PortStats {
  readonly rx: Counters;
  readonly tx: Counters;
}

/** One queue of a started port. */
export interface QueueHandle {
  readonly plan: QueuePlan;
  /** What the queues in its place have counted since the port was started, before its driver was exchanged. */
  readonly before?: Counters;
  /** Offsets of the frames that are in this queue's ring now. Only meaningful while no worker runs the queue. */
  held(): Iterable<number>;
  /** Brings `completed` up to date when the worker that ran the queue has gone. */
  settle(): void;
  /** Takes out what `held` gives, counted as `stopped`. Only when the workers at both ends of the ring have gone. */
  clear(): void;
}

/** The driver's side of a port: what `probe` builds and wraps with `new Port(...)`. */
export interface PortDevice {
  readonly driver: string;
  readonly capability: Capability;
  readonly defaults: PortConfig;
  /** Allocates and programs the queues for `config`. Called on start; what it made, `teardown` releases. */
  setup(config: PortConfig): Queues | Promise<Queues>;
  /** Releases what `setup` made, also when that threw. The workers have left the queues; frames were taken out before. */
  teardown(): void | Promise<void>;
  /** Releases the rest. The last call. */
  close(): void | Promise<void>;
  /** State of the link now. */
  link(): LinkInfo;
  /** Applied at once, while started or not. Present if the capability says so; the MAC address comes with `setup`. */
  setPromiscuous?(on: boolean): void;
  /** True when a finite source has delivered all it has. */
  finished?(): boolean;
  /** Resolves when what was accepted for transmission has left (a file was flushed). */
  flush?(): Promise<void>;
  /** The port calls this once; the device reports changes through it. */
  attach?(events: PortEvents): void;
  /** Counters that somebody else keeps (a kernel, a device), by their own names. They never go back. */
  extraStats?(): Counters;
  /** What whoever opened the port should know, one sentence each, with the command that changes it. */
  notes?(config: PortConfig): readonly string[];
  /**
   * Lets go of a device that runs, without touching it or its rings: timers off, nothing is reported any more. Returns what
   * a later release of the driver goes on with (`Driver.succeed`), and is not called any more; or undefined when that cannot
   * be now, and nothing has changed. The workers have left the queues.
   */
  handOver?(): unknown;
}

/** How a port's driver is exchanged for a later release: what the framework tells the port. */
export interface Succession {
  /** Both releases know what `PortDevice.handOver` gives: the rings go on as they are. */
  readonly compatible: boolean;
  /** Makes the port of the later release on the same devio: one that runs, from what was handed over; else as `probe` does. */
  make(handover?: { readonly state: unknown }): Promise<Pktio>;
}

/** Queues of a started port, by number. */
export interface Queues {
  readonly rx: readonly QueueHandle[];
  readonly tx: readonly QueueHandle[];
}

/** How a device reports what happens to it. */
export interface PortEvents {
  /** The link has changed. */
  link(link: LinkInfo): void;
  /** A failure that the port survives or not; `fatal` ones take it down. */
  error(error: Error, fatal: boolean): void;
  /** Has the workers that run the port's queues look at once, also when they sleep: a gate of a queue has changed. */
  wake(): void;
  /**
   * The device is there, but its queues are of no use any more, which `why` tells: whoever runs them has the workers leave,
   * and `Pktio.renew` makes them anew.
   */
  stuck(why: Error): void;
  /** The device has changed by itself: these are its settings from the next start on. */
  settings?(changed: Partial<PortConfig>): void;
}

/** States of a port. */
export type PortState = 'stopped' | 'starting' | 'started' | 'stopping' | 'closed';

/** A port, as everyone but its driver sees it. */
export interface Pktio {
  /** The port name that it was opened with, or the device's address. */
  readonly name: string;
  /** Name of its driver. */
  readonly driver: string;
  /** Where it is between opened and closed. */
  readonly state: PortState;
  /** What `configure` would accept now. */
  readonly capability: Capability;
  /** The settings of this start, or of the next one. */
  readonly config: PortConfig;
  /** Changes settings while stopped. Unknown or unsupported ones are refused by name, and then nothing changes. */
  configure(settings: Partial<PortConfig>): void;
  /** Makes the queues of `config`. Throws `WRONG_STATE`, and what the device says; it is stopped then. */
  start(): Promise<void>;
  /** Flushes, then releases the queues: the workers must have left them. Throws `WRONG_STATE`. */
  stop(): Promise<void>;
  /** Stops first if needed. Idempotent. */
  close(): Promise<void>;
  /** The queues of a started port. */
  readonly queues: Queues;
  /** Six bytes. */
  readonly mac: Uint8Array;
  /** Largest layer 3 packet, in bytes. */
  readonly mtu: number;
  /** Only while stopped: applications learn their ports' addresses when they are made. */
  setMac(mac: string): void;
  /** Takes effect at once, while started or not. Throws `UNSUPPORTED_SETTING`. */
  setPromiscuous(on: boolean): void;
  /** State of the link now; changes are `link` events. */
  link(): LinkInfo;
  /** True when a finite source has delivered all it has. */
  readonly finished: boolean;
  /** Resolves when what was accepted for transmission has left (a file was flushed). */
  flush(): Promise<void>;
  /** Sums over all queues, since the port was opened or `clearStats` was called. */
  stats(): PortStats;
  /** The same of one queue, since it was started. Throws `NO_SUCH_QUEUE`. */
  queueStats(direction: 'rx' | 'tx', queue: number): Counters;
  /** `clear` keeps a baseline: the counters themselves never go back. */
  clearStats(): void;
  /** Counters that somebody else keeps (a kernel, a device), by their own names. */
  extraStats?(): Counters;
  /** What whoever opened the port should know, one sentence each, with the command that changes it. */
  notes?(): readonly string[];
  /**
   * Goes on with a later release of its driver, as the same port. The workers have left its queues. Resolves to whether the
   * rings went on (else they were made anew, and what was in them is counted as `stopped`). After a rejection the port is of
   * no use: close it.
   */
  succeed?(by: Succession): Promise<boolean>;
  /**
   * Makes the queues of a started port anew, with the same settings. The workers have left them; what was in their rings is
   * counted as `stopped`, and counters go on. After a rejection the port is stopped. Throws `WRONG_STATE`.
   */
  renew?(): Promise<void>;
  /** The link has changed. */
  on(event: 'link', listener: (link: LinkInfo) => void): this;
  /** Something failed; `fatal` has taken the port down. */
  on(event: 'error', listener: (error: Error, fatal: boolean) => void): this;
  /** The port's workers should look at its queues: the engine wakes them. */
  on(event: 'wake', listener: () => void): this;
  /** The port's queues carry nothing any more, but `renew` helps. */
  on(event: 'stuck', listener: (why: Error) => void): this;
  /** Takes a listener back. */
  off(event: 'link', listener: (link: LinkInfo) => void): this;
  /** Takes a listener back. */
  off(event: 'error', listener: (error: Error, fatal: boolean) => void): this;
  /** Takes a listener back. */
  off(event: 'wake', listener: () => void): this;
  /** Takes a listener back. */
  off(event: 'stuck', listener: (why: Error) => void): this;
}
