/** What a `vhost` port offers to its front ends: features and configuration. Control half. */
import { type FeatureName, featureSet } from '../../virtio/features.ts';
import { NET_CONFIG, NET_CONFIG_BYTES, NET_STATUS } from '../../virtio/net.ts';
import { parseMac } from '../../wire/mac.ts';

type Wishes = Readonly<Record<string, string | number | boolean>>;

/**
 * The features that the port is asked to have. Those of the control queue are offered for the front end's sake, which
 * has the queue itself (vhost-user.rst knows data queues only). No offload but checksums of what the guest sends: a
 * segment is never larger than a frame.
 */
export function offeredFeatures(wishes: Wishes, pairs: number): bigint {
  const unless = (name: string, feature: FeatureName) => (wishes[name] === false ? 0n : featureSet(feature));
  return (
    featureSet('VERSION_1', 'PROTOCOL_FEATURES', 'LOG_ALL', 'MAC', 'STATUS', 'MTU', 'CTRL_VQ', 'CTRL_RX') |
    featureSet('GUEST_ANNOUNCE') |
    (pairs > 1 ? featureSet('MQ') : 0n) |
    unless('mergeable', 'MRG_RXBUF') |
    unless('packed', 'RING_PACKED') |
    unless('in-order', 'IN_ORDER') |
    unless('event-idx', 'EVENT_IDX') |
    unless('indirect', 'INDIRECT_DESC') |
    unless('csum', 'CSUM')
  );
}

/** struct virtio_net_config (virtio 1.2 §5.1.4). */
export function netConfig(mac: string, mtu: number, pairs: number, up: boolean): Uint8Array {
  const bytes = new Uint8Array(NET_CONFIG_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(parseMac(mac), NET_CONFIG.mac);
  view.setUint16(NET_CONFIG.status, up ? NET_STATUS.LINK_UP : 0, true);
  view.setUint16(NET_CONFIG.maxVirtqueuePairs, pairs, true);
  view.setUint16(NET_CONFIG.mtu, mtu, true);
  // Speed and duplex are not known (§5.1.4): all ones.
  view.setUint32(NET_CONFIG.speed, 0xffff_ffff, true);
  view.setUint8(NET_CONFIG.duplex, 0xff);
  return bytes;
}
