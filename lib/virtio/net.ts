/** Network device tables (virtio 1.2 §5.1): packet header, configuration, control commands. Nothing else. */

/** Device id of a network device, §5. */
export const NET_DEVICE_ID = 1;

/**
 * struct virtio_net_hdr, §5.1.6: u8 flags, u8 gso_type, le16 hdr_len, le16 gso_size, le16 csum_start, le16 csum_offset,
 * le16 num_buffers. Twelve bytes always, since VERSION_1 is required. Offsets in bytes.
 */
export const NET_HDR = {
  flags: 0,
  gsoType: 1,
  hdrLen: 2,
  gsoSize: 4,
  csumStart: 6,
  csumOffset: 8,
  numBuffers: 10,
} as const;
export const NET_HDR_BYTES = 12;

/** `flags` of the header, §5.1.6. */
export const NET_HDR_F = { NEEDS_CSUM: 1, DATA_VALID: 2, RSC_INFO: 4 } as const;

/** `gso_type` of the header, §5.1.6. */
export const NET_HDR_GSO = { NONE: 0, TCPV4: 1, UDP: 3, TCPV6: 4, UDP_L4: 5, ECN: 0x80 } as const;

/** struct virtio_net_config, §5.1.4. Offsets in bytes. */
export const NET_CONFIG = {
  mac: 0,
  status: 6,
  maxVirtqueuePairs: 8,
  mtu: 10,
  speed: 12,
  duplex: 16,
  rssMaxKeySize: 17,
  rssMaxIndirectionTableLength: 18,
  supportedHashTypes: 20,
} as const;
export const NET_CONFIG_BYTES = 24;

/** Its fields, in order: offset and bytes of each. The MAC is six of one byte. */
export const NET_CONFIG_FIELDS: readonly (readonly [offset: number, bytes: 1 | 2 | 4])[] = [
  ...[0, 1, 2, 3, 4, 5].map((i) => [NET_CONFIG.mac + i, 1] as const),
  [NET_CONFIG.status, 2],
  [NET_CONFIG.maxVirtqueuePairs, 2],
  [NET_CONFIG.mtu, 2],
  [NET_CONFIG.speed, 4],
  [NET_CONFIG.duplex, 1],
  [NET_CONFIG.rssMaxKeySize, 1],
  [NET_CONFIG.rssMaxIndirectionTableLength, 2],
  [NET_CONFIG.supportedHashTypes, 4],
];

/** `status` of the configuration, §5.1.4. */
export const NET_STATUS = { LINK_UP: 1, ANNOUNCE: 2 } as const;

/** Bounds of what a device may say, §5.1.4.1. */
export const NET_LIMITS = { minMtu: 68, maxMtu: 65_535, minPairs: 1, maxPairs: 0x8000 } as const;

/** Control commands, §5.1.6.5: class and command. */
export const CTRL = {
  rx: { class: 0, promisc: 0, allmulti: 1, alluni: 2, nomulti: 3, nouni: 4, nobcast: 5 },
  mac: { class: 1, tableSet: 0, addrSet: 1 },
  vlan: { class: 2, add: 0, del: 1 },
  announce: { class: 3, ack: 0 },
  mq: { class: 4, vqPairsSet: 0, rssConfig: 1, hashConfig: 2 },
  guestOffloads: { class: 5, set: 0 },
} as const;

/** Answer to a control command, §5.1.6.5. */
export const CTRL_ACK = { OK: 0, ERR: 1 } as const;

/** Number of the virtqueue: receiveq1 is 0, transmitq1 is 1, and so on; the control queue comes last. §5.1.2. */
export const receiveQueue = (pair: number): number => pair * 2;
export const transmitQueue = (pair: number): number => pair * 2 + 1;
export const controlQueue = (maxPairs: number): number => maxPairs * 2;
