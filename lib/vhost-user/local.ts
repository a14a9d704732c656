/**
 * What a vhost-user front end answers itself, because the back end of a network device has nothing but data queues: the
 * configuration, and the commands that would go to a control queue (virtio 1.2 §5.1.4, §5.1.6.5).
 */
import { createHash } from 'node:crypto';
import { type FeatureName, featureSet } from '../virtio/features.ts';
import { CTRL, NET_CONFIG, NET_CONFIG_BYTES, NET_LIMITS, NET_STATUS } from '../virtio/net.ts';

/** Features that the front end has whatever the back end has. They are never told to the back end. */
export const LOCAL_FEATURES = featureSet('MAC', 'STATUS', 'CTRL_VQ', 'CTRL_RX', 'CTRL_MAC_ADDR');

/** Features of a back end that work through this transport. */
const PASSED: readonly FeatureName[] = [
  'CSUM',
  'GUEST_CSUM',
  'GUEST_TSO4',
  'GUEST_TSO6',
  'GUEST_ECN',
  'GUEST_UFO',
  'HOST_TSO4',
  'HOST_TSO6',
  'HOST_ECN',
  'HOST_UFO',
  'HOST_USO',
  'MRG_RXBUF',
  'INDIRECT_DESC',
  'EVENT_IDX',
  'VERSION_1',
  'RING_PACKED',
  'IN_ORDER',
  'RING_RESET',
];
export const PASSED_FEATURES = featureSet(...PASSED);

/** The feature that a wish of a port name turns off: `mergeable=0`. */
export const WISH_FEATURES: Readonly<Record<string, FeatureName>> = {
  mergeable: 'MRG_RXBUF',
  'in-order': 'IN_ORDER',
  'event-idx': 'EVENT_IDX',
  indirect: 'INDIRECT_DESC',
};

/** A locally administered address for a port that was given none: the same each time. */
export function macOf(name: string): Uint8Array {
  const mac = new Uint8Array(createHash('sha256').update(name).digest().subarray(0, 6));
  mac[0] = 2;
  return mac;
}

/** The configuration that the driver reads. */
export class LocalConfig {
  readonly bytes = new Uint8Array(NET_CONFIG_BYTES);
  private readonly view = new DataView(this.bytes.buffer);

  constructor(mac: Uint8Array) {
    this.bytes.set(mac, NET_CONFIG.mac);
    this.view.setUint16(NET_CONFIG.maxVirtqueuePairs, 1, true);
    // Not known, §5.1.4.
    this.view.setUint32(NET_CONFIG.speed, 0xffff_ffff, true);
    this.view.setUint8(NET_CONFIG.duplex, 0xff);
  }

  set mac(mac: Uint8Array) {
    this.bytes.set(mac, NET_CONFIG.mac);
  }

  set pairs(pairs: number) {
    this.view.setUint16(NET_CONFIG.maxVirtqueuePairs, pairs, true);
  }

  set mtu(mtu: number) {
    this.view.setUint16(NET_CONFIG.mtu, mtu, true);
  }

  set up(up: boolean) {
    this.view.setUint16(NET_CONFIG.status, up ? NET_STATUS.LINK_UP : 0, true);
  }

  /** Takes speed and link from a back end that has a configuration of its own. */
  takeLink(theirs: Uint8Array, status: boolean, speed: boolean): void {
    if (status) this.bytes.set(theirs.subarray(NET_CONFIG.status, NET_CONFIG.status + 2), NET_CONFIG.status);
    if (speed) this.bytes.set(theirs.subarray(NET_CONFIG.speed, NET_CONFIG.duplex + 1), NET_CONFIG.speed);
  }
}

/** What a command asks for. */
export type Wanted = { readonly pairs: number } | { readonly mac: Uint8Array } | 'nothing' | 'unknown';

/** Reads a control command, §5.1.6.5. All that arrives is received: there is no filter that could be switched off. */
export function readCommand(commandClass: number, command: number, data: Uint8Array): Wanted {
  const { rx, mac, mq } = CTRL;
  if (commandClass === rx.class && command <= rx.allmulti && data.length === 1) return 'nothing';
  if (commandClass === mac.class && command === mac.tableSet) return 'nothing';
  if (commandClass === mac.class && command === mac.addrSet && data.length === 6) return { mac: data.slice() };
  if (commandClass === mq.class && command === mq.vqPairsSet && data.length === 2)
    return { pairs: data[0] | (data[1] << 8) };
  return 'unknown';
}

/** Whether an MTU is one, §5.1.4.1. */
export const isMtu = (mtu: number): boolean => mtu >= NET_LIMITS.minMtu && mtu <= NET_LIMITS.maxMtu;

/** The features that a port name turns off, `mergeable=0` for one, and what it doesn't ask for. */
export function unwantedFeatures(wishes: Readonly<Record<string, unknown>>): bigint {
  const off = Object.entries(WISH_FEATURES).filter(([wish]) => wishes[wish] === false);
  return featureSet(...off.map(([, name]) => name));
}
