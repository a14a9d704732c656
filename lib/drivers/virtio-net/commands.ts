/** Control commands (virtio 1.2 §5.1.6.5): what goes into them. Pure. */
import { CTRL } from '../../virtio/net.ts';
import { parseMac } from '../../wire/mac.ts';

/** A command as it goes to the device. */
export interface Command {
  readonly name: string;
  readonly class: number;
  readonly command: number;
  readonly data: Uint8Array;
}

const { rx, mac, mq, announce } = CTRL;

export const promiscuous = (on: boolean): Command => ({
  name: 'promiscuous mode',
  class: rx.class,
  command: rx.promisc,
  data: Uint8Array.of(Number(on)),
});

export const allMulticast = (on: boolean): Command => ({
  name: 'all multicast',
  class: rx.class,
  command: rx.allmulti,
  data: Uint8Array.of(Number(on)),
});

export const setAddress = (address: string): Command => ({
  name: 'MAC address',
  class: mac.class,
  command: mac.addrSet,
  data: parseMac(address),
});

/** le32 entries, the unicast addresses, le32 entries, the multicast addresses, §5.1.6.5.2. */
export function macTable(unicast: readonly string[], multicast: readonly string[]): Command {
  const list = (addresses: readonly string[]) => {
    const bytes = new Uint8Array(4 + addresses.length * 6);
    new DataView(bytes.buffer).setUint32(0, addresses.length, true);
    for (const [i, address] of addresses.entries()) bytes.set(parseMac(address), 4 + i * 6);
    return bytes;
  };
  const data = Uint8Array.of(...list(unicast), ...list(multicast));
  return { name: 'MAC table', class: mac.class, command: mac.tableSet, data };
}

export const setPairs = (pairs: number): Command => ({
  name: `${pairs} queue pairs`,
  class: mq.class,
  command: mq.vqPairsSet,
  data: Uint8Array.of(pairs & 0xff, pairs >>> 8),
});

export const announced = (): Command => ({
  name: 'announcement',
  class: announce.class,
  command: announce.ack,
  data: new Uint8Array(),
});

/** Symmetric key: both directions of a flow meet on one queue (0x6d5a, repeated). */
const RSS_KEY = Uint8Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? 0x6d : 0x5a));
const MOST_TABLE = 128;

/** What the device can do: longest key and table, hash types. */
export interface RssLimits {
  readonly key: number;
  readonly table: number;
  readonly types: number;
}

/**
 * Spreads what is received over rx queues 0 … `rxQueues` − 1 by all hashes that the device knows; `txQueues` are used.
 * struct virtio_net_rss_config, §5.1.6.5.7.1: le32 hash_types, le16 indirection_table_mask, le16 unclassified_queue,
 * le16 indirection_table[], le16 max_tx_vq, u8 hash_key_length, hash_key[].
 */
export function rssConfig(rxQueues: number, txQueues: number, limits: RssLimits): Command {
  const length = 2 ** Math.floor(Math.log2(Math.max(1, Math.min(limits.table, MOST_TABLE))));
  const key = RSS_KEY.subarray(0, Math.min(limits.key, RSS_KEY.length));
  const data = new Uint8Array(8 + length * 2 + 3 + key.length);
  const view = new DataView(data.buffer);
  view.setUint32(0, limits.types, true);
  view.setUint16(4, length - 1, true);
  for (let i = 0; i < length; i++) view.setUint16(8 + i * 2, i % rxQueues, true);
  const end = 8 + length * 2;
  view.setUint16(end, txQueues, true);
  data[end + 2] = key.length;
  data.set(key, end + 3);
  return { name: 'receive-side scaling', class: mq.class, command: mq.rssConfig, data };
}
