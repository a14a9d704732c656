/** AF_XDP's tables (Linux, include/uapi/linux/if_xdp.h; Documentation/networking/af_xdp.rst), and nothing else. */

/** Address family and socket option level. */
export const AF_XDP = 44;
export const SOL_XDP = 283;

/** Socket options. */
export const XDP_OPTION = {
  mmapOffsets: 1,
  rxRing: 2,
  txRing: 3,
  umemReg: 4,
  umemFillRing: 5,
  umemCompletionRing: 6,
  statistics: 7,
  options: 8,
  maxTxSkbBudget: 9,
} as const;

/** Flags of `bind`. */
export const XDP_BIND = {
  sharedUmem: 1 << 0,
  copy: 1 << 1,
  zeroCopy: 1 << 2,
  useNeedWakeup: 1 << 3,
  useSg: 1 << 4,
} as const;

/** Where in the socket's file the rings are, for mmap. */
export const XDP_PGOFF = { rx: 0, tx: 0x8000_0000, fill: 0x1_0000_0000, completion: 0x1_8000_0000 } as const;

/** The rings in the order of struct xdp_mmap_offsets, and the bytes of their descriptors. */
export const XDP_RINGS = { rx: 16, tx: 16, fill: 8, completion: 8 } as const;

/** Bytes of struct xdp_ring_offset: producer, consumer, desc, flags, each 64 bits. */
export const RING_OFFSET_BYTES = 32;

/** Flag in a ring: the kernel wants to be called before it goes on. */
export const XDP_RING_NEED_WAKEUP = 1;

/** Packets that one call sends at most, in copy mode; another number can be asked for since Linux 6.17. */
export const TX_BATCH_SIZE = 32;

/** Flag in `XDP_OPTIONS`: the socket is bound in zero-copy mode. */
export const XDP_OPTIONS_ZEROCOPY = 1;

/** Option of an rx or tx descriptor: the packet goes on in the next one. */
export const XDP_PKT_CONTD = 1 << 0;

/**
 * Most descriptors of a packet that we receive or send. The kernel sends up to 18 where it copies (the first and
 * MAX_SKB_FRAGS more, include/linux/skbuff.h) and takes a packet with more for invalid.
 */
export const XDP_MAX_SEGMENTS = 17;

/** Struct xdp_statistics, in order, each 64 bits. */
export const XDP_STATISTICS = [
  'rx_dropped',
  'rx_invalid_descs',
  'tx_invalid_descs',
  'rx_ring_full',
  'rx_fill_ring_empty_descs',
  'tx_ring_empty_descs',
] as const;

/** Bytes that the kernel keeps before a packet in a frame (include/net/xdp_sock.h and bpf.h: XDP_PACKET_HEADROOM). */
export const XDP_PACKET_HEADROOM = 256;

/** Error numbers of a kick (include/uapi/asm-generic/errno*.h). */
export const KICK = { ok: 0, noDevice: 6, again: 11, busy: 16, netDown: 100, noBuffers: 105 } as const;
