/** The vhost-user protocol's tables (QEMU, docs/interop/vhost-user.rst): messages, flags, features. Nothing else. */

/** Header: u32 request, u32 flags, u32 size of the payload. Native byte order, which is little-endian here. */
export const HEADER_BYTES = 12;

/** `flags` of the header. The version is 1. */
export const FLAG = { VERSION_MASK: 3, VERSION: 1, REPLY: 4, NEED_REPLY: 8 } as const;

/** Protocol feature bits. */
export const PROTOCOL_FEATURE = {
  MQ: 0,
  LOG_SHMFD: 1,
  RARP: 2,
  REPLY_ACK: 3,
  MTU: 4,
  BACKEND_REQ: 5,
  CROSS_ENDIAN: 6,
  CRYPTO_SESSION: 7,
  PAGEFAULT: 8,
  CONFIG: 9,
  BACKEND_SEND_FD: 10,
  HOST_NOTIFIER: 11,
  INFLIGHT_SHMFD: 12,
  RESET_DEVICE: 13,
  INBAND_NOTIFICATIONS: 14,
  CONFIGURE_MEM_SLOTS: 15,
  STATUS: 16,
  XEN_MMAP: 17,
  SHARED_OBJECT: 18,
  DEVICE_STATE: 19,
} as const;

export type ProtocolFeature = keyof typeof PROTOCOL_FEATURE;

/** The set of `names`. */
export const protocolSet = (...names: readonly ProtocolFeature[]): bigint =>
  names.reduce((set, name) => set | (1n << BigInt(PROTOCOL_FEATURE[name])), 0n);

/** True when `set` has the protocol feature. */
export const hasProtocol = (set: bigint, name: ProtocolFeature): boolean =>
  (set & (1n << BigInt(PROTOCOL_FEATURE[name]))) !== 0n;

/** Names of the protocol features in `set`, bits without a name as `bit N`. */
export function protocolNames(set: bigint): string[] {
  const names = new Map(Object.entries(PROTOCOL_FEATURE).map(([name, bit]) => [bit as number, name]));
  return Array.from({ length: 64 }, (_, bit) => bit)
    .filter((bit) => (set & (1n << BigInt(bit))) !== 0n)
    .map((bit) => names.get(bit) ?? `bit ${bit}`);
}

/** Kinds of payload: see `Payloads` in payload.ts. */
export type Shape = 'none' | 'u64' | 'state' | 'address' | 'table' | 'region' | 'log' | 'config' | 'inflight' | 'ring';

/** How many fds come with a message: `ring` one unless the payload says none, `regions` one for each region. */
export type Fds = 'none' | 'one' | 'ring' | 'regions' | 'stray';

/** One message of the front end. */
export interface MessageRow {
  readonly id: number;
  readonly payload: Shape;
  readonly fds: Fds;
  /** What the back end answers always; with REPLY_ACK every other message is answered too when that is asked for. */
  readonly reply?: Shape;
  /** Only when this protocol feature has been negotiated. */
  readonly needs?: ProtocolFeature;
}

/** Front-end message types that a network device has to do with. */
export const MESSAGE = {
  GET_FEATURES: { id: 1, payload: 'none', fds: 'none', reply: 'u64' },
  SET_FEATURES: { id: 2, payload: 'u64', fds: 'none' },
  SET_OWNER: { id: 3, payload: 'none', fds: 'none' },
  RESET_OWNER: { id: 4, payload: 'none', fds: 'none' },
  SET_MEM_TABLE: { id: 5, payload: 'table', fds: 'regions' },
  SET_LOG_BASE: { id: 6, payload: 'log', fds: 'one', reply: 'none', needs: 'LOG_SHMFD' },
  SET_LOG_FD: { id: 7, payload: 'none', fds: 'one' },
  SET_VRING_NUM: { id: 8, payload: 'state', fds: 'none' },
  SET_VRING_ADDR: { id: 9, payload: 'address', fds: 'none' },
  SET_VRING_BASE: { id: 10, payload: 'state', fds: 'none' },
  GET_VRING_BASE: { id: 11, payload: 'state', fds: 'none', reply: 'state' },
  SET_VRING_KICK: { id: 12, payload: 'ring', fds: 'ring' },
  SET_VRING_CALL: { id: 13, payload: 'ring', fds: 'ring' },
  SET_VRING_ERR: { id: 14, payload: 'ring', fds: 'ring' },
  GET_PROTOCOL_FEATURES: { id: 15, payload: 'none', fds: 'none', reply: 'u64' },
  SET_PROTOCOL_FEATURES: { id: 16, payload: 'u64', fds: 'none' },
  GET_QUEUE_NUM: { id: 17, payload: 'none', fds: 'none', reply: 'u64', needs: 'MQ' },
  SET_VRING_ENABLE: { id: 18, payload: 'state', fds: 'none' },
  SEND_RARP: { id: 19, payload: 'u64', fds: 'none', needs: 'RARP' },
  NET_SET_MTU: { id: 20, payload: 'u64', fds: 'none', needs: 'MTU' },
  SET_BACKEND_REQ_FD: { id: 21, payload: 'none', fds: 'one', needs: 'BACKEND_REQ' },
  GET_CONFIG: { id: 24, payload: 'config', fds: 'none', reply: 'config', needs: 'CONFIG' },
  SET_CONFIG: { id: 25, payload: 'config', fds: 'none', needs: 'CONFIG' },
  GET_INFLIGHT_FD: { id: 31, payload: 'inflight', fds: 'none', reply: 'inflight', needs: 'INFLIGHT_SHMFD' },
  SET_INFLIGHT_FD: { id: 32, payload: 'inflight', fds: 'one', needs: 'INFLIGHT_SHMFD' },
  RESET_DEVICE: { id: 34, payload: 'none', fds: 'none', needs: 'RESET_DEVICE' },
  GET_MAX_MEM_SLOTS: { id: 36, payload: 'none', fds: 'none', reply: 'u64', needs: 'CONFIGURE_MEM_SLOTS' },
  ADD_MEM_REG: { id: 37, payload: 'region', fds: 'one', needs: 'CONFIGURE_MEM_SLOTS' },
  REM_MEM_REG: { id: 38, payload: 'region', fds: 'stray', needs: 'CONFIGURE_MEM_SLOTS' },
  SET_STATUS: { id: 39, payload: 'u64', fds: 'none', needs: 'STATUS' },
  GET_STATUS: { id: 40, payload: 'none', fds: 'none', reply: 'u64', needs: 'STATUS' },
} as const satisfies Record<string, MessageRow>;

export type MessageName = keyof typeof MESSAGE;

/** Back-end message types: what the back end may ask of the front end. */
export const BACKEND_MESSAGE = {
  IOTLB_MSG: 1,
  CONFIG_CHANGE_MSG: 2,
  VRING_HOST_NOTIFIER_MSG: 3,
  VRING_CALL: 4,
  VRING_ERR: 5,
} as const;

/** Bounds: regions of SET_MEM_TABLE, bytes of the configuration, of any payload, and of the page of the dirty log. */
export const LIMIT = { tableRegions: 8, configBytes: 256, payloadBytes: 4096, logPage: 4096 } as const;

/** `payload` of SET_VRING_KICK, CALL, ERR: bits 0 to 7 are the index, bit 8 says that no fd comes with it. */
export const RING_PAYLOAD = { indexMask: 0xffn, noFd: 1n << 8n } as const;

/** `flags` of SET_VRING_ADDR (linux/vhost_types.h VHOST_VRING_F_LOG). */
export const ADDRESS_F = { LOG: 1 } as const;

/** `flags` of the configuration messages: written by the guest, or by a migration. */
export const CONFIG_F = { WRITABLE: 0, LIVE_MIGRATION: 1 } as const;

const NAMES = new Map(Object.entries(MESSAGE).map(([name, { id }]) => [id as number, name as MessageName]));

/** The message that has number `id`, or undefined when there is none that we know. */
export const messageName = (id: number): MessageName | undefined => NAMES.get(id);
