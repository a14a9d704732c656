/**
 * What the virtio drivers are written against: the registers of a PCI function or the messages to a vhost-user back end
 * look the same from here (virtio 1.2 §4). Control half.
 */
import type { FramePool } from '../arena/frame-pool.ts';
import type { Devio } from '../framework/types.ts';

/** A virtqueue as the driver has laid it out: arena offsets of its areas. */
export interface QueueLayout {
  /** Descriptors: a power of two for split rings. */
  readonly size: number;
  readonly packed: boolean;
  /** Descriptor table or ring. */
  readonly desc: number;
  /** Driver area: available ring, or driver event suppression. */
  readonly driver: number;
  /** Device area: used ring, or device event suppression. */
  readonly device: number;
}

/** How a worker tells the device that a queue has something new: one of the two. Plain data. */
export interface Notifier {
  /** Eventfd to signal, or -1. */
  readonly fd: number;
  /** Arena offset of the queue's notify register, or 0, and what to write there (§4.1.5.2). */
  readonly register: number;
  readonly value: number;
  /** Bytes to write: 2, or 4 with NOTIFICATION_DATA (the worker then adds the queue's position, §4.1.5.2.1). */
  readonly width: 2 | 4;
}

/** How a worker hears of a queue's interrupts. Plain data. */
export interface Interrupt {
  /** File descriptor in which an edge-triggered epoll set sees an event per interrupt; -1: the queue has none. */
  readonly fd: number;
  /**
   * Of an interrupt line: arena offset of the ISR status, one byte, which is to be read (§4.1.4.5), and the eventfd that
   * unmasks the line after that. Otherwise 0 and -1.
   */
  readonly isr: number;
  readonly unmask: number;
}

/** Of a queue that has no interrupt, or for which nobody waits. */
export const SILENT: Interrupt = { fd: -1, isr: 0, unmask: -1 };

/** What a device does without being asked. */
export interface TransportEvents {
  /** The configuration may have changed: link, announce. */
  configChanged(): void;
  /** DEVICE_NEEDS_RESET: nothing more will come of it until it is reset. */
  needsReset(reason: string): void;
  /**
   * The device has gone (the peer hung up, the card was pulled); nothing may be asked of it until `back`. Called again when
   * there is a better reason: who came instead is not the same device. `forGood`: it will not come back to this port.
   */
  lost(reason: string, forGood: boolean): void;
  /** It is there again, as new: bring it up once more, with the same features. */
  back(): void;
}

/** One virtio device. Everything rejects with `DEVICE_TIMEOUT` at its deadline and `DEVICE_LOST` once it has gone. */
export interface VirtioTransport {
  /** Features that the device offers. */
  deviceFeatures(): Promise<bigint>;
  setDriverFeatures(features: bigint): Promise<void>;
  /** The device status, §2.1. */
  status(): Promise<number>;
  setStatus(status: number): Promise<void>;
  /** Writes 0 and waits until the device says 0, §2.4.2. */
  reset(): Promise<void>;
  /**
   * Reads `length` bytes of the device configuration from `offset`, all of one generation (§2.5.1): read again while that
   * changes, a bounded number of times.
   */
  readConfig(offset: number, length: number): Promise<Uint8Array>;
  /** Most descriptors that queue `index` may have; 0 when there is no such queue. */
  queueMax(index: number): Promise<number>;
  /** Programs queue `index` and enables it. Between FEATURES_OK and DRIVER_OK, or after its reset. */
  startQueue(index: number, layout: QueueLayout): Promise<void>;
  /** Resets queue `index` (RING_RESET, §2.6.1), and resolves when the device has let go of it. */
  resetQueue(index: number): Promise<void>;
  /** Asked for after FEATURES_OK; the same for as long as the transport is open, across resets and losses. */
  notifier(index: number): Notifier;
  /**
   * Notifies the device of queue `index` from the main thread: of the control queue, whose next entry is at `position`, as
   * NOTIFICATION_DATA wants it (§2.9). Not needed where there is `command`.
   */
  notify?(index: number, position: number): void;
  /**
   * Turns on the interrupts of `queues`, and off those of others: after FEATURES_OK. Each is the same across resets and
   * losses, until the next call.
   */
  interrupts(queues: readonly number[]): ReadonlyMap<number, Interrupt>;
  /**
   * Present when there is no control queue to be driven and the transport does the command itself (a vhost-user back end
   * knows only data queues). Resolves to the answer, `CTRL_ACK`.
   */
  command?(commandClass: number, command: number, data: Uint8Array): Promise<number>;
  /** True while the device is made by this very process: what it gives us, a port of ours was sent. */
  readonly ours?: boolean;
  /** Called once, before anything else. */
  watch(events: TransportEvents): void;
}

/** An open way to a virtio device: its transport, and memory. */
export interface VirtioDevio extends Devio {
  readonly transport: VirtioTransport;
  readonly memory: SharedArrayBuffer;
  readonly frames: FramePool;
  /** Zeroed arena memory that the device does not see: counters, tables of what is whose. Throws `NO_MEMORY`. */
  allocate(bytes: number): number;
  free(offset: number): void;
  /** Zeroed arena memory that the device sees: rings. Throws `NO_MEMORY`. */
  allocateShared(bytes: number, align: number): number;
  freeShared(offset: number): void;
  /**
   * Addresses by which the device knows the frames: arena offset of a table with two words (low, high) per frame of the
   * pool, or 0 when an arena offset is the address (vhost-user, VFIO with an IOMMU).
   */
  readonly frameAddresses: number;
  /** The address by which the device knows arena offset `offset` of memory that `allocateShared` gave. */
  addressOf(offset: number): bigint;
  /** What was asked for when the device was opened: `queues`, `packed`, `mac`, … by name. */
  readonly wishes: Readonly<Record<string, string | number | boolean>>;
}
