/** Feature bits and device status (virtio 1.2 §2.1, §2.2, §5.1.3, §6): tables, and how a set of them is checked. */

/** Bit numbers, by the specification's names without their prefixes. */
export const FEATURE = {
  // Network device, §5.1.3.
  CSUM: 0,
  GUEST_CSUM: 1,
  CTRL_GUEST_OFFLOADS: 2,
  MTU: 3,
  MAC: 5,
  GUEST_TSO4: 7,
  GUEST_TSO6: 8,
  GUEST_ECN: 9,
  GUEST_UFO: 10,
  HOST_TSO4: 11,
  HOST_TSO6: 12,
  HOST_ECN: 13,
  HOST_UFO: 14,
  MRG_RXBUF: 15,
  STATUS: 16,
  CTRL_VQ: 17,
  CTRL_RX: 18,
  CTRL_VLAN: 19,
  CTRL_RX_EXTRA: 20,
  GUEST_ANNOUNCE: 21,
  MQ: 22,
  CTRL_MAC_ADDR: 23,
  HOST_USO: 56,
  HASH_REPORT: 57,
  GUEST_HDRLEN: 59,
  RSS: 60,
  RSC_EXT: 61,
  STANDBY: 62,
  SPEED_DUPLEX: 63,
  // vhost and vhost-user (linux/vhost.h VHOST_F_LOG_ALL, vhost-user.rst VHOST_USER_F_PROTOCOL_FEATURES).
  LOG_ALL: 26,
  PROTOCOL_FEATURES: 30,
  // Reserved feature bits, §6.
  INDIRECT_DESC: 28,
  EVENT_IDX: 29,
  VERSION_1: 32,
  ACCESS_PLATFORM: 33,
  RING_PACKED: 34,
  IN_ORDER: 35,
  ORDER_PLATFORM: 36,
  SR_IOV: 37,
  NOTIFICATION_DATA: 38,
  NOTIF_CONFIG_DATA: 39,
  RING_RESET: 40,
} as const;

export type FeatureName = keyof typeof FEATURE;

/** What a feature needs (§5.1.3.1): one of each list. */
const REQUIRES: Partial<Record<FeatureName, readonly (readonly FeatureName[])[]>> = {
  GUEST_TSO4: [['GUEST_CSUM']],
  GUEST_TSO6: [['GUEST_CSUM']],
  GUEST_UFO: [['GUEST_CSUM']],
  GUEST_ECN: [['GUEST_TSO4', 'GUEST_TSO6']],
  HOST_TSO4: [['CSUM']],
  HOST_TSO6: [['CSUM']],
  HOST_UFO: [['CSUM']],
  HOST_USO: [['CSUM']],
  HOST_ECN: [['HOST_TSO4', 'HOST_TSO6']],
  CTRL_RX: [['CTRL_VQ']],
  CTRL_VLAN: [['CTRL_VQ']],
  CTRL_RX_EXTRA: [['CTRL_VQ']],
  GUEST_ANNOUNCE: [['CTRL_VQ']],
  MQ: [['CTRL_VQ']],
  CTRL_MAC_ADDR: [['CTRL_VQ']],
  CTRL_GUEST_OFFLOADS: [['CTRL_VQ']],
  RSS: [['CTRL_VQ']],
  RSC_EXT: [['HOST_TSO4', 'HOST_TSO6']],
};

/** The set of `names`. */
export const featureSet = (...names: readonly FeatureName[]): bigint =>
  names.reduce((set, name) => set | (1n << BigInt(FEATURE[name])), 0n);

/** True when `set` has the feature. */
export const hasFeature = (set: bigint, name: FeatureName): boolean => (set & (1n << BigInt(FEATURE[name]))) !== 0n;

/** Names of the features in `set`, bits without a name as `bit N`. */
export function featureNames(set: bigint): string[] {
  const names = new Map(Object.entries(FEATURE).map(([name, bit]) => [bit as number, name]));
  return Array.from({ length: 64 }, (_, bit) => bit)
    .filter((bit) => (set & (1n << BigInt(bit))) !== 0n)
    .map((bit) => names.get(bit) ?? `bit ${bit}`);
}

/** Features of `set` of which something that they need is missing in it. */
export function unmetFeatures(set: bigint): FeatureName[] {
  return (Object.keys(REQUIRES) as FeatureName[]).filter(
    (name) => hasFeature(set, name) && !REQUIRES[name]?.every((any) => any.some((need) => hasFeature(set, need))),
  );
}

/** `set` without the features of which something that they need is missing: what may be accepted or offered (§2.2.1). */
export function metFeatures(set: bigint): bigint {
  const unmet = unmetFeatures(set);
  return unmet.length === 0 ? set : metFeatures(set & ~featureSet(...unmet));
}

/** Device status bits, §2.1. */
export const STATUS = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  DEVICE_NEEDS_RESET: 64,
  FAILED: 128,
} as const;
