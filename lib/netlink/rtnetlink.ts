/** What rtnetlink says about interfaces, addresses and default routes (rtnetlink(7); include/uapi/linux/if_link.h). */
import { type Attributes, decodeAttributes, type Message, text, u32 } from './message.ts';

/** Message types. */
export const RTM = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  newAddr: 20,
  delAddr: 21,
  getAddr: 22,
  newRoute: 24,
  delRoute: 25,
  getRoute: 26,
} as const;

/** Multicast groups of changes (rtnetlink.h, RTMGRP_*): links; IPv4 and IPv6 addresses. */
export const GROUPS = 0x1 | 0x10 | 0x100;

const IFLA = {
  address: 1,
  name: 3,
  mtu: 4,
  linkInfo: 18,
  txQueues: 31,
  rxQueues: 32,
  carrier: 33,
  xdp: 43,
  newNamespace: 45,
} as const;
const IFLA_INFO_KIND = 1;
const IFLA_XDP = { attached: 2, program: 4 } as const;
const IFA = { address: 1, local: 2 } as const;
const RTA = { outInterface: 4, multipath: 9 } as const;
/** struct rtnexthop: length, flags, hops, interface; its own attributes follow. */
const NEXT_HOP = { length: 0, index: 4, size: 8 } as const;
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const ARPHRD_ETHER = 1;
const ARPHRD_LOOPBACK = 772;
const RTN_UNICAST = 1;
const XDP_MODES = ['none', 'native', 'generic', 'hardware', 'several'] as const;

/** An interface. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** It carries Ethernet frames. */
  readonly ethernet: boolean;
  readonly loopback: boolean;
  readonly up: boolean;
  readonly carrier: boolean;
  readonly mtu: number;
  /** `02:00:00:00:00:01`, or the empty string. */
  readonly mac: string;
  /** `veth`, `bridge` …, or the empty string for real hardware. */
  readonly kind: string;
  /** Queues that were made with it; fewer may be in use. */
  readonly rxQueues: number;
  readonly txQueues: number;
  /** How an XDP program is attached, and its id. */
  readonly xdp: (typeof XDP_MODES)[number];
  readonly xdpProgram: number;
  /** Only when it vanishes: it goes on in another network namespace. */
  readonly moved: boolean;
}

/** An address of an interface. */
export interface Address {
  readonly index: number;
  readonly address: string;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const hex = (bytes: Uint8Array | undefined): string =>
  Array.from(bytes ?? [], (byte) => byte.toString(16).padStart(2, '0')).join(':');

function nested(attributes: Attributes, type: number): Attributes {
  return decodeAttributes(attributes.get(type) ?? new Uint8Array(0), 0);
}

/** Reads RTM_NEWLINK or RTM_DELLINK; undefined when it is too short or of a protocol's own (a bridge's view of a port). */
export function decodeLink({ payload }: Message): Link | undefined {
  if (payload.length < 16 || payload[0] !== 0) return undefined;
  const view = viewOf(payload);
  const type = view.getUint16(2, true);
  const flags = view.getUint32(8, true);
  const attributes = decodeAttributes(payload, 16);
  const name = text(attributes, IFLA.name);
  if (name === undefined) return undefined;
  const xdp = nested(attributes, IFLA.xdp);
  return {
    index: view.getInt32(4, true),
    name,
    ethernet: type === ARPHRD_ETHER || type === ARPHRD_LOOPBACK,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    up: (flags & IFF_UP) !== 0,
    carrier: attributes.get(IFLA.carrier)?.[0] === 1,
    mtu: u32(attributes, IFLA.mtu) ?? 0,
    mac: hex(attributes.get(IFLA.address)),
    kind: text(nested(attributes, IFLA.linkInfo), IFLA_INFO_KIND) ?? '',
    rxQueues: u32(attributes, IFLA.rxQueues) ?? 1,
    txQueues: u32(attributes, IFLA.txQueues) ?? 1,
    xdp: XDP_MODES[xdp.get(IFLA_XDP.attached)?.[0] ?? 0] ?? 'none',
    xdpProgram: u32(xdp, IFLA_XDP.program) ?? 0,
    moved: attributes.has(IFLA.newNamespace),
  };
}

/** Writes an address as people do. */
function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const view = viewOf(bytes);
  const words = Array.from({ length: 8 }, (_, i) => view.getUint16(i * 2).toString(16));
  return new URL(`http://[${words.join(':')}]`).hostname.slice(1, -1);
}

/** Reads RTM_NEWADDR or RTM_DELADDR. */
export function decodeAddress({ payload }: Message): Address | undefined {
  if (payload.length < 8) return undefined;
  const attributes = decodeAttributes(payload, 8);
  // On a point-to-point link `address` is the other end's: `local`, where it is given, is ours.
  const bytes = attributes.get(IFA.local) ?? attributes.get(IFA.address);
  if (bytes === undefined || (bytes.length !== 4 && bytes.length !== 16)) return undefined;
  return { index: viewOf(payload).getUint32(4, true), address: `${addressText(bytes)}/${payload[1]}` };
}

/** Reads RTM_NEWROUTE: the interfaces that it leaves by when it is a default route, none when it is another. */
export function decodeDefaultRoute({ payload }: Message): number[] {
  if (payload.length < 12 || payload[1] !== 0 || payload[7] !== RTN_UNICAST) return [];
  const attributes = decodeAttributes(payload, 12);
  const index = u32(attributes, RTA.outInterface);
  return index === undefined ? nextHops(attributes.get(RTA.multipath)) : [index];
}

function nextHops(bytes: Uint8Array = new Uint8Array(0)): number[] {
  const view = viewOf(bytes);
  const indices: number[] = [];
  for (let at = 0; at + NEXT_HOP.size <= bytes.length; ) {
    const length = view.getUint16(at + NEXT_HOP.length, true);
    if (length < NEXT_HOP.size || length > bytes.length - at) break;
    indices.push(view.getUint32(at + NEXT_HOP.index, true));
    at += (length + 3) & ~3;
  }
  return indices;
}
