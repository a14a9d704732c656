/** Which features the driver accepts (virtio 1.2 §2.2, §5.1.3, §6). Pure. */
import { DeviceError } from '../../errors.ts';
import { type FeatureName, featureNames, featureSet, hasFeature, metFeatures } from '../../virtio/features.ts';

/** Accepted whenever they are offered. */
const WANTED: readonly FeatureName[] = [
  ...(['VERSION_1', 'ACCESS_PLATFORM', 'ORDER_PLATFORM', 'RING_PACKED'] as const),
  ...(['EVENT_IDX', 'IN_ORDER', 'NOTIFICATION_DATA', 'NOTIF_CONFIG_DATA'] as const),
  ...(['MAC', 'STATUS', 'MTU', 'MRG_RXBUF', 'CTRL_VQ', 'CTRL_RX', 'CTRL_MAC_ADDR', 'MQ', 'RSS'] as const),
  ...(['GUEST_ANNOUNCE', 'SPEED_DUPLEX', 'GUEST_HDRLEN', 'INDIRECT_DESC'] as const),
];

/**
 * IN_ORDER lets a back end tell of a whole burst by one used descriptor: over packed rings we are 0.92 to 1.03 times as fast as
 * testpmd with it (README), and were 0.81 to 0.85 times without. INDIRECT_DESC is for packets of several frames; any other is one
 * descriptor. Left to the device:
 * HASH_REPORT (eight bytes more before each packet for a hash that nobody asks for), STANDBY (no pair of devices is made
 * of two), segmentation (applications have packets as they are on the wire),
 * RING_RESET (a device with a broken ring is not trusted with its other ones: it is reset as a whole), SR_IOV (no functions are made).
 */

/** Accepted when a wish is true. */
const ASKED: Readonly<Record<string, readonly FeatureName[]>> = {
  csum: ['CSUM', 'GUEST_CSUM'],
};

/** What was asked for when the port was opened. */
export type Wishes = Readonly<Record<string, string | number | boolean>>;

/** Features that a wish turns off when it is false. */
const OPTIONS: Readonly<Record<string, FeatureName>> = {
  packed: 'RING_PACKED',
  mergeable: 'MRG_RXBUF',
  'event-idx': 'EVENT_IDX',
  'in-order': 'IN_ORDER',
};

/**
 * Features of `offered` to accept, `without` some that the device cannot keep up. Throws `NO_VERSION_1` for a device
 * of before virtio 1.0, `NO_PACKED_RING` when that was asked for.
 */
export function chooseFeatures(what: string, offered: bigint, wishes: Wishes, without: bigint): bigint {
  if (!hasFeature(offered, 'VERSION_1')) {
    const why = 'it is a legacy device: it does not offer VERSION_1';
    throw new DeviceError('NO_VERSION_1', { what, why, fix: 'use a device of virtio 1.0 or later' });
  }
  if (wishes.packed === true && !hasFeature(offered, 'RING_PACKED')) {
    throw new DeviceError('NO_PACKED_RING', { what, why: 'it does not offer packed rings', fix: 'leave packed=1 out' });
  }
  const asked = Object.keys(ASKED).filter((wish) => wishes[wish] === true);
  const wanted = [...WANTED, ...asked.flatMap((wish) => ASKED[wish])];
  const off = Object.keys(OPTIONS).filter((wish) => wishes[wish] === false);
  const unwanted = without | featureSet(...off.map((wish) => OPTIONS[wish]));
  return metFeatures(offered & featureSet(...wanted) & ~unwanted);
}

/** Throws `FEATURES_CHANGED` when a device that is there again does not offer `features`, with which it was driven before. */
export function requireFeatures(what: string, offered: bigint, features: bigint): void {
  const missing = features & ~offered;
  if (missing === 0n) return;
  throw new DeviceError('FEATURES_CHANGED', {
    what,
    why: `it is another one than before: it no longer offers ${featureNames(missing).join(', ')}`,
    fix: 'start its other side as it was, or open the port again',
  });
}
