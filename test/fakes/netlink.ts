/** A kernel that answers rtnetlink: messages laid out by hand from rtnetlink(7), and a `Native` that brings them. */
import type { Native } from '../../native/index.ts';

/** An interface as the fake kernel has it. */
export interface FakeLink {
  readonly index: number;
  readonly name: string;
  readonly mtu?: number;
  readonly up?: boolean;
  /** ARPHRD_*: 1 is Ethernet. */
  readonly type?: number;
  readonly kind?: string;
}

/** One attribute: length, type, value, padding. */
export function attribute(type: number, value: Uint8Array | number | string): number[] {
  const bytes =
    typeof value === 'number'
      ? [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24]
      : typeof value === 'string'
        ? [...Buffer.from(value), 0]
        : [...value];
  const length = 4 + bytes.length;
  return [length & 0xff, length >> 8, type & 0xff, type >> 8, ...bytes, ...Array((4 - (length % 4)) % 4).fill(0)];
}

/** One message: length, type, flags, sequence, port; then the payload. */
export function message(type: number, payload: readonly number[], sequence = 0, flags = 0): number[] {
  const header = new Uint8Array(16);
  const view = new DataView(header.buffer);
  view.setUint32(0, 16 + payload.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  return [...header, ...payload, ...Array((4 - (payload.length % 4)) % 4).fill(0)];
}

/** Payload of RTM_NEWLINK: struct ifinfomsg, then attributes. */
export function linkPayload(
  { index, name, mtu = 1500, up = true, type = 1, kind = 'veth' }: FakeLink,
  more: number[] = [],
): number[] {
  const info = new Uint8Array(16);
  const view = new DataView(info.buffer);
  view.setUint16(2, type, true);
  view.setInt32(4, index, true);
  view.setUint32(8, up ? 0x1 : 0, true);
  const mac = attribute(1, Uint8Array.of(2, 0, 0, 0, 0, index));
  const nested = attribute(18, Uint8Array.from(attribute(1, kind)));
  return [
    ...info,
    ...attribute(3, name),
    ...attribute(4, mtu),
    ...mac,
    ...attribute(33, Uint8Array.of(up ? 1 : 0)),
    ...nested,
    ...more,
  ];
}

/** Payload of RTM_NEWROUTE: struct rtmsg, then attributes. */
export const routePayload = (destinationBits: number, attributes: number[], type = 1): number[] => [
  2,
  destinationBits,
  0,
  0,
  254,
  3,
  0,
  type,
  0,
  0,
  0,
  0,
  ...attributes,
];

const RTM = { newLink: 16, delLink: 17, getLink: 18, getAddr: 22, newRoute: 24, getRoute: 26 };
const errno = (call: string, code: number) => Object.assign(new Error(call), { syscall: call, errno: -code });

/** The kernel. Change it by its methods: whoever is subscribed hears of it. */
export class FakeNetlink {
  readonly links = new Map<number, FakeLink>();
  /** Interfaces that default routes leave by. */
  routes: number[] = [];
  /** The next read of each subscriber says that something was lost. */
  overflow = false;
  readonly open = new Set<number>();
  private readonly queues = new Map<number, number[][]>();
  private readonly subscribers = new Set<number>();
  private nextFd = 100;

  put(link: FakeLink): void {
    this.links.set(link.index, link);
    this.publish(message(RTM.newLink, linkPayload(link)));
  }

  remove(index: number, options: { moved?: boolean; silent?: boolean } = {}): void {
    const link = this.links.get(index)!;
    this.links.delete(index);
    if (options.silent !== true)
      this.publish(message(RTM.delLink, linkPayload(link, options.moved ? attribute(45, 3) : [])));
  }

  private publish(datagram: number[]): void {
    for (const fd of this.subscribers) this.queues.get(fd)?.push(datagram);
  }

  private answer(fd: number, type: number, sequence: number): void {
    const queue = this.queues.get(fd)!;
    if (type === RTM.getLink)
      for (const link of this.links.values()) queue.push(message(RTM.newLink, linkPayload(link), sequence, 2));
    if (type === RTM.getRoute)
      for (const index of this.routes)
        queue.push(message(RTM.newRoute, routePayload(0, attribute(4, index)), sequence, 2));
    queue.push(message(3, [0, 0, 0, 0], sequence, 2));
  }

  get native(): Native {
    const kernel = this;
    const calls: Partial<Native> = {
      socket() {
        const fd = kernel.nextFd++;
        kernel.open.add(fd);
        kernel.queues.set(fd, []);
        return fd;
      },
      bind(fd, address) {
        if (new DataView(address.buffer).getUint32(8, true) !== 0) kernel.subscribers.add(fd);
      },
      send(fd, bytes) {
        const view = new DataView(bytes.buffer);
        kernel.answer(fd, view.getUint16(4, true), view.getUint32(8, true));
      },
      receive(fd, into) {
        if (kernel.overflow && kernel.subscribers.has(fd)) {
          kernel.overflow = false;
          kernel.queues.set(fd, []);
          throw errno('recv', 105);
        }
        const next = kernel.queues.get(fd)?.shift();
        if (next === undefined) return -1;
        into.set(next);
        return next.length;
      },
      close(fd) {
        if (!kernel.open.delete(fd)) throw new Error(`fd ${fd} is closed twice`);
        kernel.subscribers.delete(fd);
        kernel.queues.delete(fd);
      },
      ioctl() {
        throw errno('ioctl', 95);
      },
    };
    return calls as Native;
  }
}
