/** The interfaces of a network namespace, kept up to date by rtnetlink. Control half. */

import type { Native } from '../../native/index.ts';
import { everyMs, type Pulse } from '../pulse.ts';
import type { Message } from './message.ts';
import { type Address, decodeAddress, decodeDefaultRoute, decodeLink, GROUPS, type Link, RTM } from './rtnetlink.ts';
import { dumpAll, NetlinkSocket } from './socket.ts';

/** How often changes are looked for, in milliseconds. */
const LOOK_MS = 100;
/** How long what was read is new. */
const FRESH_MS = 200;

/** Who hears of changes. */
export interface NetdevListener {
  appeared(link: Link): void;
  /** Up, down, MTU, address, name: `before` is what it was. */
  changed(link: Link, before: Link): void;
  /** Deleted, or moved to another namespace: `why` says which. */
  vanished(link: Link, why: string): void;
  /** Changes cannot be followed any more. */
  failed(error: Error): void;
}

/** Links by index, and their addresses. */
export class Netdevs {
  private readonly native: Native;
  private readonly socket: NetlinkSocket;
  private readonly listener: NetdevListener;
  private readonly byIndex = new Map<number, Link>();
  private addressList: Address[] = [];
  private pulse: Pulse | undefined;
  private reading = false;
  private readAt = 0;

  constructor(native: Native, listener: NetdevListener) {
    this.native = native;
    this.socket = new NetlinkSocket(native, GROUPS);
    this.listener = listener;
  }

  /** Reads everything, then watches. */
  async start(): Promise<void> {
    // Subscribed before it reads: what changes meanwhile is told as well, and is the last word.
    await this.readAll();
    this.pulse = everyMs(LOOK_MS, () => this.look());
  }

  stop(): void {
    this.pulse?.stop();
    this.socket.close();
  }

  links(): Link[] {
    return [...this.byIndex.values()];
  }

  link(index: number): Link | undefined {
    return this.byIndex.get(index);
  }

  /** Its addresses with their prefix lengths. */
  addresses(index: number): string[] {
    return this.addressList.filter((a) => a.index === index).map((a) => a.address);
  }

  /**
   * Interfaces that a default route leaves by: taking one may cut the machine off. Asked afresh each time, because the
   * kernel does not tell of the routes that vanish with a link.
   */
  async defaultRoutes(): Promise<Set<number>> {
    return new Set((await dumpAll(this.native, RTM.getRoute)).flatMap(decodeDefaultRoute));
  }

  /** Reads everything afresh, unless that was a moment ago: the kernel does not tell of XDP programs that come and go. */
  async refresh(): Promise<void> {
    if (performance.now() - this.readAt > FRESH_MS) await this.readAgain();
  }

  /** Takes note of all changes up to now. */
  look(): void {
    try {
      const { messages, lost } = this.socket.receive();
      for (const message of messages) this.apply(message);
      if (lost) void this.readAgain();
    } catch (error) {
      this.listener.failed(error as Error);
    }
  }

  private async readAgain(): Promise<void> {
    if (this.reading) return;
    this.reading = true;
    try {
      await this.readAll();
    } catch (error) {
      this.listener.failed(error as Error);
    } finally {
      this.reading = false;
    }
  }

  private async readAll(): Promise<void> {
    const links = (await dumpAll(this.native, RTM.getLink)).map(decodeLink).filter((link) => link !== undefined);
    const addresses = (await dumpAll(this.native, RTM.getAddr)).map(decodeAddress);
    this.addressList = addresses.filter((address) => address !== undefined);
    const gone = this.links().filter((link) => !links.some(({ index }) => index === link.index));
    for (const link of gone) this.remove(link);
    for (const link of links) this.put(link);
    this.readAt = performance.now();
  }

  private apply(message: Message): void {
    if (message.type === RTM.newLink || message.type === RTM.delLink) {
      const link = decodeLink(message);
      if (link === undefined) return;
      if (message.type === RTM.newLink) this.put(link);
      else this.remove(link);
    } else if (message.type === RTM.newAddr || message.type === RTM.delAddr) {
      const address = decodeAddress(message);
      if (address === undefined) return;
      const others = this.addressList.filter((a) => a.index !== address.index || a.address !== address.address);
      this.addressList = message.type === RTM.newAddr ? [...others, address] : others;
    }
  }

  private put(link: Link): void {
    const before = this.byIndex.get(link.index);
    this.byIndex.set(link.index, link);
    if (before === undefined) this.listener.appeared(link);
    else this.listener.changed(link, before);
  }

  private remove({ index, moved }: Link): void {
    const known = this.byIndex.get(index);
    if (known === undefined) return;
    this.byIndex.delete(index);
    this.addressList = this.addressList.filter((address) => address.index !== index);
    this.listener.vanished(known, `it was ${moved ? 'moved to another network namespace' : 'deleted'}`);
  }
}
