/** The engine: an arena, a framework with the drivers that linecard brings, open ports, and runs over them. */
import { loadNative } from '../../native/index.ts';
import { Arena } from '../arena/arena.ts';
import { FramePool } from '../arena/frame-pool.ts';
import { iommuDevios } from '../devios/iommu.ts';
import { memoryDevio } from '../devios/memory.ts';
import { nommuDevios } from '../devios/nommu.ts';
import { vhostDevio } from '../devios/vhost.ts';
import { vhostUserDevio } from '../devios/vhost-user.ts';
import { xskDevio } from '../devios/xsk.ts';
import { e1000eDriver } from '../drivers/e1000e/device.ts';
import { igbDriver } from '../drivers/igb/device.ts';
import { loopDriver } from '../drivers/loop/device.ts';
import { nullDriver } from '../drivers/null/device.ts';
import { pairDriver } from '../drivers/pair/device.ts';
import { pcapDriver } from '../drivers/pcap/device.ts';
import { vhostDriver } from '../drivers/vhost/device.ts';
import { virtioNetDriver } from '../drivers/virtio-net/device.ts';
import { xdpDriver } from '../drivers/xdp/device.ts';
import { FILE_ENUMERATOR_API, fileClass } from '../enumerators/file.ts';
import { MEMORY_ENUMERATOR_API, memoryClass } from '../enumerators/memory.ts';
import { NETDEV_ENUMERATOR_API, NetdevTable, netdevClass } from '../enumerators/netdev.ts';
import { PCI_ENUMERATOR_API, PciTable, pciClass } from '../enumerators/pci.ts';
import { SOCKET_ENUMERATOR_API, socketClass } from '../enumerators/socket.ts';
import { PlanError, PortError } from '../errors.ts';
import { Framework } from '../framework/framework.ts';
import type { Device } from '../framework/types.ts';
import type { Pktio, PortConfig } from '../pktio/types.ts';
import { readCpus } from './cpus.ts';
import type { Means } from './crew.ts';
import { stuck } from './failures.ts';
import { plan } from './plan.ts';
import { Run } from './run.ts';
import { engineSettings } from './settings.ts';
import { checkJobs } from './specs.ts';
import type { Assignment, EngineOptions, JobSpec } from './types.ts';

/**
 * How long a device may take to be let go before that is forced, in milliseconds: more than a run takes at the most to have
 * its jobs leave (`Run.detach`), on a machine that hardly lets its workers run. Frames in the rings are lost by force.
 */
const UNBIND_MS = 10_000;

/**
 * Opens an engine. Throws `NATIVE_MISSING`, `BAD_OPTION`, `NO_ADDRESS_SPACE`, `NO_MEMORY`, `FILE_SIZE_LIMIT`,
 * `ARENA_FULL`, `BAD_FRAME_POOL`, `NO_HUGEPAGES`; nothing is left behind then.
 */
export async function openEngine(options: EngineOptions = {}): Promise<Engine> {
  const settings = engineSettings(options);
  const native = loadNative();
  const arena = new Arena(native, settings.arenaBytes === undefined ? {} : { bytes: settings.arenaBytes });
  try {
    const frames = new FramePool(arena, settings, settings.debugFrames);
    const engine = new Engine({ arena, frames, settings, ports: new Map() });
    await engine.framework.start();
    return engine;
  } catch (error) {
    arena.close();
    throw error;
  }
}

/** An engine. Close it when done: `await using engine = await openEngine()` does. */
export class Engine {
  /** Its framework: register enumerator classes, devios and drivers of your own here. */
  readonly framework: Framework;
  private readonly means: Means & { readonly ports: Map<string, Pktio> };
  private readonly devices = new Map<Pktio, Device>();
  /** Open ports by the name that they were asked for by, options and all. */
  private readonly asked = new Map<string, Pktio>();
  private current: Run | undefined;
  /** The run before, as long as a thread of it is stuck. */
  private unfinished: Run | undefined;
  private closing: Promise<void> | undefined;

  /** Use `openEngine`. */
  constructor(means: Means & { readonly ports: Map<string, Pktio> }) {
    this.means = means;
    const onQuiesce = (device: Device) => this.quiesce(device);
    const onReplace = (device: Device, exchange: () => Promise<boolean>) => this.exchange(device, exchange);
    this.framework = new Framework({ onQuiesce, onReplace, unbindDeadlineMs: UNBIND_MS });
    const { arena, settings } = means;
    const { keeper } = settings;
    const pcap = pcapDriver({ flock: (fd, shared) => arena.native.flock(fd, shared) });
    const netdevs = new NetdevTable(arena.native);
    const functions = new PciTable({ native: arena.native });
    const classes = [memoryClass(), fileClass(), netdevClass(netdevs), socketClass(), pciClass(functions)];
    for (const enumeratorClass of classes) this.framework.registerClass(enumeratorClass);
    for (const api of [MEMORY_ENUMERATOR_API, FILE_ENUMERATOR_API])
      this.framework.registerDevio(memoryDevio(arena, api));
    this.framework.registerDevio(xskDevio(arena, means.frames, netdevs, NETDEV_ENUMERATOR_API));
    for (const make of [iommuDevios, nommuDevios])
      for (const devio of make(arena, means.frames, functions, PCI_ENUMERATOR_API, keeper))
        this.framework.registerDevio(devio);
    for (const make of [vhostUserDevio, vhostDevio])
      this.framework.registerDevio(make(arena, means.frames, SOCKET_ENUMERATOR_API));
    const plain = [
      nullDriver(),
      loopDriver(),
      pairDriver(),
      xdpDriver(),
      virtioNetDriver(),
      vhostDriver(),
      e1000eDriver(),
      igbDriver(),
    ];
    for (const driver of [pcap, ...plain]) this.framework.registerDriver(driver);
  }

  /** The arena, for drivers of your own. */
  get arena(): Arena {
    return this.means.arena;
  }

  /** Open ports by name, in the order in which they were opened. */
  get ports(): ReadonlyMap<string, Pktio> {
    return this.means.ports;
  }

  /** The run that goes on or is being started, if any. */
  get activeRun(): Run | undefined {
    return this.current;
  }

  /**
   * Opens the port that `name` stands for and configures it. Throws `NO_SUCH_PORT`, `BAD_PORT_NAME`, `PORT_TAKEN`,
   * `NOT_BOUND`, and what `configure` throws.
   */
  async open(name: string, settings: Partial<PortConfig> = {}): Promise<Pktio> {
    this.requireOpen();
    if (typeof name !== 'string') {
      const text = { what: `port ${String(name)}`, why: 'a port name is a string', fix: 'name one, such as loop:a' };
      throw new PortError('BAD_PORT_NAME', text);
    }
    const device = await this.framework.request(name).catch((error: unknown) => {
      this.requireOpen(); // closed meanwhile: that is the reason
      throw error;
    });
    const port = device.pktio as Pktio;
    try {
      port.configure(settings);
    } catch (error) {
      await this.framework.release(device);
      throw error;
    }
    this.means.ports.set(port.name, port);
    this.devices.set(port, device);
    this.asked.set(name, port);
    return port;
  }

  /** Closes a port. Jobs that use it are taken out of their workers first, and end. */
  async close(port: Pktio): Promise<void>;
  /** Closes the engine: stops the run, closes the ports, gives all memory back. Idempotent. */
  async close(): Promise<void>;
  async close(port?: Pktio): Promise<void> {
    if (port === undefined) {
      this.closing ??= this.shutDown();
      return this.closing;
    }
    const device = this.devices.get(port);
    if (device === undefined) {
      throw new PortError('NOT_OPEN', {
        what: `port ${port.name}`,
        why: 'it is not open in this engine',
        fix: 'close each port once',
      });
    }
    await this.framework.release(device);
    this.forget(port);
  }

  /**
   * Says where `jobs` would run, without running them. They may name a port as it is called (`port.name`) or as it was
   * opened. Throws PlanError.
   */
  plan(jobs: readonly JobSpec[]): Assignment {
    checkJobs(jobs);
    const nameOf = (name: string): string => this.asked.get(name)?.name ?? name;
    const named = jobs.map(({ rx, tx, ...job }) => ({
      ...job,
      ...(rx === undefined ? {} : { rx: { ...rx, port: nameOf(rx.port) } }),
      ...(tx === undefined ? {} : { tx: tx.map(nameOf) }),
    }));
    const ports = [...this.means.ports.values()].map((port) => ({
      name: port.name,
      rxQueues: port.config.rxQueues,
      maxTxQueues: port.capability.txQueues.max,
      node: nodeOf(this.devices.get(port)),
    }));
    return plan(named, ports, readCpus(this.means.arena.native, this.means.settings.cpus));
  }

  /**
   * Runs `jobs` over the open ports; resolves when packets flow. One run at a time. Throws PlanError, WorkerError, and
   * what starting a port throws; nothing runs then, and the ports are stopped again.
   */
  async run(jobs: readonly JobSpec[]): Promise<Run> {
    this.requireOpen();
    this.requireIdle();
    const run = new Run(this.means, this.plan(jobs));
    this.current = run;
    try {
      await run.begin(jobs);
    } catch (error) {
      this.leave(run);
      throw error;
    }
    void run.done.then(() => this.leave(run));
    return run;
  }

  /** `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async quiesce(device: Device): Promise<void> {
    const { pktio } = device;
    if (pktio === undefined) return;
    await this.current?.detach(pktio);
    this.forget(pktio);
  }

  private async exchange({ pktio }: Device, exchange: () => Promise<boolean>): Promise<void> {
    if (pktio === undefined || this.current === undefined) await exchange();
    else await this.current.exchange(pktio, exchange);
  }

  private forget(port: Pktio): void {
    this.devices.delete(port);
    this.means.ports.delete(port.name);
    for (const [name, asked] of this.asked) if (asked === port) this.asked.delete(name);
  }

  private leave(run: Run): void {
    if (this.current !== run) return;
    this.current = undefined;
    this.unfinished = run;
  }

  private async shutDown(): Promise<void> {
    const { frames, arena } = this.means;
    const steps = [
      () => this.current?.abandon(closed()),
      () => this.framework.stop(),
      () => frames.close(),
      () => arena.close(),
    ];
    const errors: unknown[] = [];
    // Whatever fails, the rest is given back all the same.
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  private requireOpen(): void {
    if (this.closing !== undefined) throw closed();
  }

  private requireIdle(): void {
    if (this.current !== undefined) {
      const text = { what: 'run', why: 'another run goes on', fix: 'stop it first, or open a second engine' };
      throw new PlanError('RUNNING', text);
    }
    const [thread] = this.unfinished?.stuckWorkers ?? [];
    if (thread !== undefined) throw stuck(thread); // its queues are where the next ones would be
  }
}

function closed(): PortError {
  return new PortError('ENGINE_CLOSED', { what: 'engine', why: 'it has been closed', fix: 'open another one' });
}

function nodeOf(device: Device | undefined): number | undefined {
  const node = device?.facts.numaNode;
  return typeof node === 'number' && node >= 0 ? node : undefined;
}
