/** The interfaces of a network namespace, kept up to date by rtnetlink. Control half. */
import type { Native } from '../../native/index.ts';
import type { Message } from './message.ts';
import { type Address, decodeAddress, decodeDefaultRoute, decodeLink, GROUPS, type Link, RTM } from './rtnetlink.ts';
import { RouteSocket } from './socket.ts';

/** How often changes are looked for, in milliseconds. */
const LOOK_MS = 50;

/** Who hears of changes. */
export interface NetdevListener {
  appeared(link: Link): void;
  /** Up, down, MTU, address, name: `before` is what it was. */
  changed(link: Link, before: Link): void;
  /** Deleted, or moved to another namespace. */
  vanished(link: Link): void;
  failed(error: Error): void;
}

/** Links by index, their addresses, and which of them a default route leaves by. */
export class Netdevs {
  private readonly socket: RouteSocket;
  private readonly listener: NetdevListener;
  private readonly byIndex = new Map<number, Link>();
  private addressList: Address[] = [];
  private defaultRoutes = new Map<number, number>();
  private timer: NodeJS.Timeout | undefined;

  constructor(native: Native, listener: NetdevListener) {
    this.socket = new RouteSocket(native, GROUPS);
    this.listener = listener;
  }

  /** Reads everything, then watches. */
  async start(): Promise<void> {
    await this.readAll();
    this.timer = setInterval(() => void this.look(), LOOK_MS);
    this.timer.unref();
  }

  stop(): void {
    clearInterval(this.timer);
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

  /** True when a default route leaves by it: taking it may cut the machine off. */
  carriesDefaultRoute(index: number): boolean {
    return (this.defaultRoutes.get(index) ?? 0) > 0;
  }

  private async readAll(): Promise<void> {
    const late: Message[] = [];
    const dump = (type: number) => this.socket.dump(type, (message) => late.push(message));
    const links = (await dump(RTM.getLink)).map(decodeLink).filter((link) => link !== undefined);
    this.addressList = (await dump(RTM.getAddr)).map(decodeAddress).filter((address) => address !== undefined);
    this.defaultRoutes = new Map();
    for (const message of await dump(RTM.getRoute)) this.countRoute(message, 1);
    const gone = this.links().filter((link) => !links.some(({ index }) => index === link.index));
    for (const link of gone) this.remove(link);
    for (const link of links) this.put(link);
    for (const message of late) this.apply(message);
  }

  private async look(): Promise<void> {
    try {
      const { messages, lost } = this.socket.receive();
      for (const message of messages) this.apply(message);
      if (lost) await this.readAll();
    } catch (error) {
      this.listener.failed(error as Error);
    }
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
    } else if (message.type === RTM.newRoute) this.countRoute(message, 1);
    else if (message.type === RTM.delRoute) this.countRoute(message, -1);
  }

  private countRoute(message: Message, by: 1 | -1): void {
    const route = decodeDefaultRoute(message);
    if (route === undefined) return;
    this.defaultRoutes.set(route.index, Math.max(0, (this.defaultRoutes.get(route.index) ?? 0) + by));
  }

  private put(link: Link): void {
    const before = this.byIndex.get(link.index);
    this.byIndex.set(link.index, link);
    if (before === undefined) this.listener.appeared(link);
    else this.listener.changed(link, before);
  }

  private remove(link: Link): void {
    const known = this.byIndex.get(link.index);
    if (known === undefined) return;
    this.byIndex.delete(link.index);
    this.listener.vanished(known);
  }
}
