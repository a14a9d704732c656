/**
 * What the vhost-user protocol (lib/vhost-user, one session per front end) and the `vhost` driver say to each other
 * (QEMU, docs/interop/vhost-user.rst). Control half.
 */

import type { Native } from '../../native/index.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import type { Api, Devio } from '../framework/types.ts';

/** A place in the peer's memory: never in our arena, but in a window of its own (see `VhostDevio.windows`). */
export interface PeerPlace {
  /** Number of the window, and byte offset in it. A window has 2 GiB, so that the offset is a non-negative int32. */
  readonly window: number;
  readonly offset: number;
}

/** A piece of the front end's memory that lies in one window. A region larger than a window is several of these. */
export interface PeerRegion extends PeerPlace {
  /** Guest physical address of its first byte: what descriptors say. Below 2^53. */
  readonly gpa: number;
  readonly bytes: number;
}

/** Where a ring stood: split rings have `avail` alone, the index of the next buffer to take. */
export interface RingBase {
  readonly avail: number;
  readonly availWrap: boolean;
  readonly used: number;
  readonly usedWrap: boolean;
}

/** A ring that is to be started: checked and translated, each area whole in one window. */
export interface RingSetup {
  /** Number of the virtqueue: even is the guest's receive queue (we send), odd its transmit queue (we receive). */
  readonly index: number;
  readonly size: number;
  readonly packed: boolean;
  /** Negotiated virtio features. */
  readonly features: bigint;
  readonly desc: PeerPlace;
  readonly driver: PeerPlace;
  readonly device: PeerPlace;
  readonly base: RingBase;
  /** Eventfd by which the front end is interrupted, or -1. The session owns it; it stays open until `stopRing` has resolved. */
  readonly call: number;
  /** Eventfd by which the front end kicks, or -1: then the ring is only polled. Owned by the session, as `call`. */
  readonly kick: number;
  /** Eventfd by which the front end is told that the ring is broken, or -1. Owned by the session, as `call`. */
  readonly err: number;
  readonly enabled: boolean;
  /**
   * All of the peer's memory, as it is while the ring runs. Pieces of one region overlap a little, so that what is not
   * longer than a ring lies whole in one of them.
   */
  readonly regions: readonly PeerRegion[];
  /** This ring's part of the inflight area (INFLIGHT_SHMFD), when there is one, and for how many descriptors it is. */
  readonly inflight: (PeerPlace & { readonly size: number }) | undefined;
  /** Dirty log (LOG_SHMFD) while LOG_ALL is negotiated: one bit per 4 KiB of guest memory. */
  readonly log: (PeerPlace & { readonly bytes: number }) | undefined;
  /** Guest address of the used ring for the log (VHOST_VRING_F_LOG), or -1. */
  readonly logAddress: number;
}

/** The `vhost` driver, as a session calls it. Every call ends before the next one is made. */
export interface RingOwner {
  /** Virtio features that this port offers (with PROTOCOL_FEATURES). The same for ever. */
  readonly features: bigint;
  /** Queue pairs. */
  readonly pairs: number;
  /** struct virtio_net_config, for GET_CONFIG. */
  config(): Uint8Array;
  /** A front end has come, or gone. All rings are stopped then. */
  connected(peer: { readonly pid: number; readonly uid: number }): void;
  disconnected(reason: string): void;
  /** Starts a ring. From now on the worker may touch the peer's memory. */
  startRing(ring: RingSetup): Promise<void>;
  /**
   * Stops it: resolves when no worker touches the peer's memory for it any more, to where it stood. Also for a ring that
   * was never started. Rejects with `WORKER_STUCK` when a worker does not step back within its deadline.
   */
  stopRing(index: number): Promise<RingBase>;
  /** Started but disabled: nothing is sent to the guest; what it transmits is taken and thrown away, and counted. */
  enableRing(index: number, on: boolean): Promise<void>;
  /** NET_SET_MTU, SEND_RARP. */
  mtu(bytes: number): void;
  rarp(mac: Uint8Array): void;
}

/** What the `vhost` driver asks for. */
export const VHOST_API: Api = { name: 'devio-vhost', version: 1 };

/** An open vhost-user socket of ours, as back end. */
export interface VhostDevio extends Devio {
  readonly memory: SharedArrayBuffer;
  readonly frames: FramePool;
  /**
   * The peer's address space: reserved once for the port's life, 2 GiB each, so that workers have them from the start;
   * what is mapped over them changes with each front end. Memory of nobody reads as zeros.
   */
  readonly windows: readonly SharedArrayBuffer[];
  allocate(bytes: number): number;
  free(offset: number): void;
  readonly native: Native;
  /** What was asked for when the port was opened: `queues`, `mac`, … by name. */
  readonly wishes: Readonly<Record<string, string | number | boolean>>;
  /** Begins to listen, or to connect, and serves front ends on behalf of `owner`. */
  serve(owner: RingOwner): void;
  /**
   * Ring `index` is broken: its worker has stopped it and signalled `err`. With STATUS and BACKEND_REQ the front end is told
   * that the device needs a reset (virtio 1.2 §2.1.2).
   */
  broken(index: number, reason: string): void;
  /** `config()` of the owner has changed: the front end is told, if it wants to know. */
  configChanged(): void;
  /** Hangs up, and serves nobody until `serve`: resolves when all rings are stopped. */
  retire(): Promise<void>;
}
