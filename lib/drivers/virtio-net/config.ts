/** The device configuration (virtio 1.2 §5.1.4): read only as far as features say, and believed only within bounds. Pure. */
import { hasFeature } from '../../virtio/features.ts';
import { NET_CONFIG, NET_CONFIG_BYTES, NET_LIMITS, NET_STATUS } from '../../virtio/net.ts';
import type { VirtioTransport } from '../../virtio/transport.ts';
import { formatMac } from '../../wire/mac.ts';

/** What the configuration says; what no feature vouches for is undefined. */
export interface NetConfig {
  readonly mac: string | undefined;
  readonly mtu: number | undefined;
  readonly pairs: number;
  readonly up: boolean;
  /** The device wants its address to be announced. */
  readonly announce: boolean;
  /** Mbit/s, 0 when not known. */
  readonly speed: number;
  readonly duplex: 'full' | 'half' | 'unknown';
  /** Longest key and indirection table, and hash types, of RSS. */
  readonly rss: { readonly key: number; readonly table: number; readonly types: number } | undefined;
}

/** Bytes of the configuration that `features` say are there, §5.1.4: the last field that one of them brings. */
function bytesOf(features: bigint): number {
  const has = (name: Parameters<typeof hasFeature>[1]) => hasFeature(features, name);
  if (has('RSS') || has('HASH_REPORT')) return NET_CONFIG_BYTES;
  if (has('SPEED_DUPLEX')) return NET_CONFIG.duplex + 1;
  if (has('MTU')) return NET_CONFIG.mtu + 2;
  if (has('MQ')) return NET_CONFIG.maxVirtqueuePairs + 2;
  if (has('STATUS')) return NET_CONFIG.status + 2;
  return has('MAC') ? NET_CONFIG.mac + 6 : 0;
}

/** Reads what `features` say is there. */
export async function readNetConfig(transport: VirtioTransport, features: bigint): Promise<NetConfig> {
  const length = bytesOf(features);
  const bytes = length === 0 ? new Uint8Array() : await transport.readConfig(0, length);
  return parseNetConfig(bytes, features);
}

/** Reads `bytes`; fields beyond them are as if they were 0. */
export function parseNetConfig(bytes: Uint8Array, features: bigint): NetConfig {
  const padded = new Uint8Array(NET_CONFIG_BYTES);
  padded.set(bytes.subarray(0, NET_CONFIG_BYTES));
  const view = new DataView(padded.buffer);
  const has = (name: Parameters<typeof hasFeature>[1]) => hasFeature(features, name);
  const u16 = (at: number) => view.getUint16(at, true);
  const status = u16(NET_CONFIG.status);
  const speed = view.getUint32(NET_CONFIG.speed, true);
  const duplex = padded[NET_CONFIG.duplex];
  const known = has('SPEED_DUPLEX');
  return {
    mac: has('MAC') ? formatMac(padded, NET_CONFIG.mac) : undefined,
    mtu: has('MTU') ? u16(NET_CONFIG.mtu) : undefined,
    pairs: has('MQ') || has('RSS') ? u16(NET_CONFIG.maxVirtqueuePairs) : 1,
    up: !has('STATUS') || (status & NET_STATUS.LINK_UP) !== 0,
    announce: has('GUEST_ANNOUNCE') && has('STATUS') && (status & NET_STATUS.ANNOUNCE) !== 0,
    speed: known && speed <= 0x7fff_ffff ? speed : 0,
    duplex: !known || duplex > 1 ? 'unknown' : duplex === 1 ? 'full' : 'half',
    rss: has('RSS')
      ? {
          key: padded[NET_CONFIG.rssMaxKeySize],
          table: u16(NET_CONFIG.rssMaxIndirectionTableLength),
          types: view.getUint32(NET_CONFIG.supportedHashTypes, true),
        }
      : undefined,
  };
}

/** Whether `mtu` and `pairs` are what §5.1.4.1 allows. */
export const isMtu = (mtu: number): boolean => mtu >= NET_LIMITS.minMtu && mtu <= NET_LIMITS.maxMtu;
export const isPairs = (pairs: number): boolean => pairs >= NET_LIMITS.minPairs && pairs <= NET_LIMITS.maxPairs;
