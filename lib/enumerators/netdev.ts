/** Enumerator class `netdev`: the kernel's Ethernet interfaces, as they come and go. `xdp:NAME` asks for one. */
import type { Native } from '../../native/index.ts';
import { parseMatch } from '../bpf/match.ts';
import type { LinkWatcher, NetdevView, XdpOptions } from '../devios/xsk.ts';
import { PortError } from '../errors.ts';
import {
  type Api,
  type DeviceDetails,
  type EnumeratorClass,
  type EnumeratorHost,
  FRAMEWORK_API,
} from '../framework/types.ts';
import { type Channels, channelsOf, driverOf, rxQueueCount } from '../netlink/ethtool.ts';
import { Netdevs } from '../netlink/netdevs.ts';
import { programHolder } from '../netlink/owners.ts';
import type { Link } from '../netlink/rtnetlink.ts';
import { badName, flagOption, type PortName, parsePortName, wholeOption } from './options.ts';

/** Facts are `kind`, `name`, `ifindex`, `driver`. */
export const NETDEV_ENUMERATOR_API: Api = { name: 'netdev', version: 1 };

/** What the accepted names look like. */
export const NETDEV_PORT_NAMES =
  'xdp:INTERFACE[,queue=N][,mode=native|skb][,zero-copy=0|1][,match=udp/53+…][,closed=1][,busy-poll=1][,checksum=fill|keep][,force=1][,grant=PATH]';

const OPTIONS = ['queue', 'mode', 'zero-copy', 'match', 'closed', 'busy-poll', 'checksum', 'force', 'grant'];

/** How often a device that was given back is tried to be added again, at each look for changes. */
const READD_LOOKS = 40;
const READD_MS = 50;

function parseGrant(text: string, name: PortName): XdpOptions['grant'] {
  const path = name.options.get('grant');
  if (path === undefined) return undefined;
  if (path === '') throw badName(text, 'grant= names no socket', 'write the path that linecard grant prints');
  return { path, match: name.options.get('match') ?? '' };
}

function parseOptions(text: string, name: PortName): XdpOptions {
  const mode = name.options.get('mode');
  if (mode !== undefined && mode !== 'native' && mode !== 'skb') {
    throw badName(text, `there is no mode "${mode}"`, 'use native or skb, or leave it out for the best there is');
  }
  const checksum = name.options.get('checksum');
  if (checksum !== undefined && checksum !== 'fill' && checksum !== 'keep') {
    const fix = 'use fill or keep, or leave it out: filled where there is no hardware';
    throw badName(text, `there is no checksum=${checksum}`, fix);
  }
  const match = name.options.get('match');
  return {
    mode,
    zeroCopy: flagOption(text, name, 'zero-copy'),
    firstQueue: wholeOption(text, name, 'queue', 0, 0, 255),
    match: match === undefined ? [] : parseMatch(match),
    closed: flagOption(text, name, 'closed') ?? false,
    busyPoll: flagOption(text, name, 'busy-poll') ?? false,
    fillChecksums: checksum === undefined ? undefined : checksum === 'fill',
    force: flagOption(text, name, 'force') ?? false,
    grant: parseGrant(text, name),
  };
}

/** What is known of an interface besides what rtnetlink says. */
interface Beside {
  readonly driver: string;
  readonly channels: Channels | undefined;
  readonly addresses: readonly string[];
  readonly defaultRoute: boolean;
  /** Whose the XDP program is. */
  readonly owner: string;
}

/**
 * What is known of an interface: `driver`, `kind` (empty for hardware), `state` (up, down, no-carrier), `mtu`, `mac`,
 * `addresses`, `rxQueues` and `txQueues` in use, `combinedQueues` if the driver has such, `xdp` (none, native, generic,
 * hardware, several) with `xdpProgram` and `xdpOwner`, `defaultRoute`.
 */
export function describeLink(link: Link, { driver, channels, addresses, defaultRoute, owner }: Beside): DeviceDetails {
  const { kind, mtu, mac, xdp, xdpProgram } = link;
  const combined = channels?.combined ?? 0;
  const queues = {
    rxQueues: (channels?.rx ?? link.rxQueues) + combined,
    txQueues: (channels?.tx ?? link.txQueues) + combined,
  };
  return {
    ...{ driver, kind, state: !link.up ? 'down' : link.carrier ? 'up' : 'no-carrier', mtu, mac, addresses },
    ...queues,
    ...(combined > 0 ? { combinedQueues: combined } : {}),
    xdp,
    ...(xdp === 'none' ? {} : { xdpProgram, xdpOwner: owner.replace(/^\((.*)\)$/, '$1') }),
    defaultRoute,
  };
}

/** The interfaces of the process's network namespace, and who wants which. */
export class NetdevTable implements NetdevView {
  private readonly native: Native;
  private readonly wishes = new Map<number, XdpOptions>();
  private readonly taken = new Set<number>();
  private readonly watchers = new Map<number, Set<LinkWatcher>>();
  private readonly timers = new Set<NodeJS.Timeout>();
  private host: EnumeratorHost | undefined;
  private netdevs: Netdevs | undefined;
  /** Interfaces that `want` comes upon are announced a little later: but for the one, nobody has asked for them. */
  private late: Link[] | undefined;

  constructor(native: Native) {
    this.native = native;
  }

  /** Reads the interfaces and follows them; each Ethernet one becomes a device of `host`. */
  async start(host: EnumeratorHost, failed: (error: Error) => void): Promise<void> {
    this.host = host;
    const netdevs = new Netdevs(this.native, {
      appeared: (link) => (this.late === undefined ? this.add(link) : this.late.push(link)),
      changed: (link, before) => this.change(link, before),
      vanished: (link, why) => this.remove(link, why),
      failed,
    });
    this.netdevs = netdevs;
    try {
      await netdevs.start();
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  stop(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.netdevs?.stop();
    this.netdevs = undefined;
    this.host = undefined;
  }

  private add({ name, index, ethernet }: Link): void {
    if (!ethernet) return;
    const facts = { kind: 'netdev', name, ifindex: index, driver: this.driver(index, name) };
    this.host?.addDevice({ address: name, facts });
  }

  private change(link: Link, before: Link): void {
    if (link.name !== before.name) {
      this.remove(before, `it was renamed to ${link.name}`);
      this.add(link);
    } else this.tell(link.index, link, '');
  }

  private remove({ index, name }: Link, why: string): void {
    this.tell(index, undefined, why);
    this.wishes.delete(index);
    // What goes wrong with the removal, the framework reports as an event.
    this.host?.removeDevice(name).catch(() => {});
  }

  private tell(index: number, link: Link | undefined, why: string): void {
    for (const watcher of this.watchers.get(index) ?? []) watcher(link, why);
  }

  /** Notes that the interface of `text` is wanted; returns its name. Throws `BAD_PORT_NAME`, `NO_SUCH_INTERFACE`. */
  want(text: string): string {
    const parsed = parsePortName(text, OPTIONS);
    const options = parseOptions(text, parsed);
    if (parsed.name === '') throw badName(text, 'it names no interface', `write ${NETDEV_PORT_NAMES}`);
    const link = this.find(parsed.name);
    if (link === undefined || !link.ethernet) {
      const names = this.netdevs?.links().filter(({ ethernet }) => ethernet) ?? [];
      throw new PortError('NO_SUCH_INTERFACE', {
        what: `port ${text}`,
        why:
          link === undefined
            ? `there is no interface "${parsed.name}" in this network namespace`
            : `interface "${parsed.name}" carries no Ethernet frames`,
        fix: `interfaces are ${names.map(({ name }) => name).join(', ')}`,
      });
    }
    if (!this.taken.has(link.index)) this.wishes.set(link.index, options);
    try {
      // It may be no device yet: made a moment ago, come upon while another was looked for, or just given back.
      this.add(link);
    } catch {
      // It is there.
    }
    return link.name;
  }

  /** The interface of that name, if only since a moment ago. */
  private find(name: string): Link | undefined {
    this.late = [];
    this.netdevs?.look();
    const late = this.late;
    this.late = undefined;
    for (const link of late) if (link.name !== name) this.addLater(link.index, 0);
    return this.netdevs?.links().find((link) => link.name === name);
  }

  /**
   * Adds the interface's device unless it is there. A device that was made in answer to a name the framework removes
   * when it is given back; the interface is still there, so it comes again.
   */
  private addLater(index: number, ms: number, attempts = READD_LOOKS): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      const link = this.link(index);
      if (link === undefined || this.taken.has(index)) return;
      try {
        this.add(link);
      } catch {
        // It is there, perhaps on its way out.
        if (attempts > 0) this.addLater(index, READD_MS, attempts - 1);
      }
    }, ms);
    timer.unref();
    this.timers.add(timer);
  }

  wanted(index: number): XdpOptions | undefined {
    return this.wishes.get(index);
  }

  take(index: number): XdpOptions | undefined {
    this.taken.add(index);
    return this.wishes.get(index);
  }

  unwant(index: number): void {
    this.wishes.delete(index);
    if (this.taken.delete(index) && this.host !== undefined) this.addLater(index, 0);
  }

  link(index: number): Link | undefined {
    return this.netdevs?.link(index);
  }

  addresses(index: number): string[] {
    return this.netdevs?.addresses(index) ?? [];
  }

  async carriesDefaultRoute(index: number): Promise<boolean> {
    return (await this.netdevs?.defaultRoutes())?.has(index) ?? false;
  }

  channels(index: number): Channels | undefined {
    const link = this.link(index);
    return link === undefined ? undefined : channelsOf(this.native, link.name);
  }

  queues(index: number): number {
    const link = this.link(index);
    return link === undefined ? 0 : rxQueueCount(this.channels(index), link.rxQueues);
  }

  driver(index: number, name = this.link(index)?.name): string {
    return name === undefined ? '' : driverOf(this.native, name);
  }

  async refresh(): Promise<void> {
    await this.netdevs?.refresh();
  }

  /** What is known of interface `name`: see `describeLink`. */
  async describe(name: string): Promise<DeviceDetails> {
    await this.refresh();
    const link = this.netdevs?.links().find((known) => known.name === name);
    if (link === undefined) return {};
    return describeLink(link, {
      driver: this.driver(link.index, name),
      channels: this.channels(link.index),
      addresses: this.addresses(link.index),
      defaultRoute: await this.carriesDefaultRoute(link.index),
      owner: programHolder(link.xdpProgram).trim(),
    });
  }

  watch(index: number, listener: LinkWatcher): () => void {
    const set = this.watchers.get(index) ?? new Set();
    this.watchers.set(index, set);
    set.add(listener);
    return () => {
      set.delete(listener);
      if (set.size === 0) this.watchers.delete(index);
    };
  }
}

/** Makes the class over `table`. */
export function netdevClass(table: NetdevTable): EnumeratorClass {
  const info = { name: 'netdev', version: '1.0.0', frameworkApi: FRAMEWORK_API };
  return {
    ...info,
    start(host) {
      host.addEnumerator({
        ...info,
        api: NETDEV_ENUMERATOR_API,
        portNames: NETDEV_PORT_NAMES,
        start: (devices) => table.start(devices, () => {}),
        stop: () => table.stop(),
        request: (text) => (text.startsWith('xdp:') ? table.want(text) : undefined),
        describe: (address) => table.describe(address),
      });
    },
  };
}
