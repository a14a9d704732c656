/** Enumerator class `netdev`: the kernel's Ethernet interfaces, as they come and go. `xdp:NAME` asks for one. */
import type { Native } from '../../native/index.ts';
import { parseMatch } from '../bpf/match.ts';
import type { NetdevView, XdpOptions } from '../devios/xsk.ts';
import { PortError } from '../errors.ts';
import { type Api, type EnumeratorClass, type EnumeratorHost, FRAMEWORK_API } from '../framework/types.ts';
import { channelsOf, driverOf, rxQueueCount } from '../netlink/ethtool.ts';
import { Netdevs } from '../netlink/netdevs.ts';
import type { Link } from '../netlink/rtnetlink.ts';
import { badName, type PortName, parsePortName, wholeOption } from './options.ts';

/** Facts are `kind`, `name`, `ifindex`, `driver`. */
export const NETDEV_ENUMERATOR_API: Api = { name: 'netdev', version: 1 };

/** What the accepted names look like. */
export const NETDEV_PORT_NAMES =
  'xdp:INTERFACE[,queue=N][,mode=native|skb][,zero-copy=0|1][,match=udp/53+…][,closed=1][,busy-poll=1][,force=1]';

const OPTIONS = ['queue', 'mode', 'zero-copy', 'match', 'closed', 'busy-poll', 'force'];

function flag(text: string, name: PortName, key: string): boolean | undefined {
  const value = name.options.get(key);
  if (value === undefined) return undefined;
  if (value === '0' || value === '1') return value === '1';
  throw badName(text, `${key}=${value} is neither 0 nor 1`, `write ${key}=1, or leave it out`);
}

function parseOptions(text: string, name: PortName): XdpOptions {
  const mode = name.options.get('mode');
  if (mode !== undefined && mode !== 'native' && mode !== 'skb') {
    throw badName(text, `there is no mode "${mode}"`, 'use native or skb, or leave it out for the best there is');
  }
  const match = name.options.get('match');
  return {
    mode,
    zeroCopy: flag(text, name, 'zero-copy'),
    firstQueue: wholeOption(text, name, 'queue', 0, 0, 255),
    match: match === undefined ? [] : parseMatch(match),
    closed: flag(text, name, 'closed') ?? false,
    busyPoll: flag(text, name, 'busy-poll') ?? false,
    force: flag(text, name, 'force') ?? false,
  };
}

/** The interfaces of the process's network namespace, and who wants which. */
export class NetdevTable implements NetdevView {
  private readonly native: Native;
  private readonly wishes = new Map<number, XdpOptions>();
  private readonly watchers = new Map<number, Set<(link: Link | undefined) => void>>();
  private netdevs: Netdevs | undefined;

  constructor(native: Native) {
    this.native = native;
  }

  /** Reads the interfaces and follows them; each Ethernet one becomes a device of `host`. */
  async start(host: EnumeratorHost, failed: (error: Error) => void): Promise<void> {
    const netdevs = new Netdevs(this.native, {
      appeared: (link) => this.add(host, link),
      changed: (link, before) => this.change(host, link, before),
      vanished: (link) => this.remove(host, link),
      failed,
    });
    this.netdevs = netdevs;
    await netdevs.start();
  }

  stop(): void {
    this.netdevs?.stop();
    this.netdevs = undefined;
  }

  private add(host: EnumeratorHost, { name, index, ethernet }: Link): void {
    if (!ethernet) return;
    host.addDevice({ address: name, facts: { kind: 'netdev', name, ifindex: index, driver: this.driver(index, name) } });
  }

  private change(host: EnumeratorHost, link: Link, before: Link): void {
    if (link.name !== before.name) {
      this.remove(host, before);
      this.add(host, link);
    } else this.tell(link.index, link);
  }

  private remove(host: EnumeratorHost, { index, name }: Link): void {
    this.tell(index, undefined);
    this.wishes.delete(index);
    // What goes wrong with the removal, the framework reports as an event.
    host.removeDevice(name, { deadlineMs: 1000 }).catch(() => {});
  }

  private tell(index: number, link: Link | undefined): void {
    for (const watcher of this.watchers.get(index) ?? []) watcher(link);
  }

  /** Notes that the interface of `text` is wanted; returns its name. */
  want(text: string): string {
    const parsed = parsePortName(text, OPTIONS);
    const options = parseOptions(text, parsed);
    const link = this.netdevs?.links().find(({ name }) => name === parsed.name);
    if (link === undefined) {
      const names = this.netdevs?.links().map(({ name }) => name) ?? [];
      throw new PortError('NO_SUCH_INTERFACE', {
        what: `port ${text}`,
        why: `there is no interface "${parsed.name}" in this network namespace`,
        fix: `interfaces are ${names.join(', ')}`,
      });
    }
    if (!this.wishes.has(link.index)) this.wishes.set(link.index, options);
    return link.name;
  }

  wanted(index: number): XdpOptions | undefined {
    return this.wishes.get(index);
  }

  unwant(index: number): void {
    this.wishes.delete(index);
  }

  link(index: number): Link | undefined {
    return this.netdevs?.link(index);
  }

  addresses(index: number): string[] {
    return this.netdevs?.addresses(index) ?? [];
  }

  carriesDefaultRoute(index: number): boolean {
    return this.netdevs?.carriesDefaultRoute(index) ?? false;
  }

  queues(index: number): number {
    const link = this.link(index);
    return link === undefined ? 0 : rxQueueCount(channelsOf(this.native, link.name), link.rxQueues);
  }

  driver(index: number, name = this.link(index)?.name): string {
    return name === undefined ? '' : driverOf(this.native, name);
  }

  watch(index: number, listener: (link: Link | undefined) => void): () => void {
    const set = this.watchers.get(index) ?? new Set();
    this.watchers.set(index, set);
    set.add(listener);
    return () => set.delete(listener);
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
      });
    },
  };
}
