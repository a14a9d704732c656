/** What a session knows of its front end, and what its messages work on. Main thread. */
import type { Native } from '../../native/index.ts';
import type { UnixConnection } from '../unix/connection.ts';
import { hasFeature, STATUS } from '../virtio/features.ts';
import type { Inflight } from './inflight.ts';
import type { DirtyLog } from './log.ts';
import { MemoryTable, unmapTable } from './memory.ts';
import type { PeerMemory } from './peer-memory.ts';
import { hasProtocol, type ProtocolFeature } from './protocol.ts';
import { Rings } from './rings.ts';
import type { RingOwner, RingSetup } from './types.ts';

/** Everything that is released with the session is released by `close`. */
export class SessionState {
  readonly native: Native;
  readonly owner: RingOwner;
  readonly memory: PeerMemory;
  readonly rings: Rings;
  owned = false;
  /** Negotiated virtio features; undefined until they are set. */
  features: bigint | undefined;
  protocol = 0n;
  /** The device status, §2.1. */
  status = 0;
  table = new MemoryTable();
  log: DirtyLog | undefined;
  /** Eventfd that tells the front end that the log has changed, or -1. */
  logFd = -1;
  inflight: Inflight | undefined;
  /** Where the front end hears our requests. */
  requests: UnixConnection | undefined;

  constructor(native: Native, owner: RingOwner, memory: PeerMemory) {
    this.native = native;
    this.owner = owner;
    this.memory = memory;
    const state = this;
    this.rings = new Rings(native, owner, {
      get table() {
        return state.table;
      },
      get features() {
        return state.features;
      },
      get driverOk() {
        return !state.has('STATUS') || (state.status & STATUS.DRIVER_OK) !== 0;
      },
      get log() {
        return hasFeature(state.features ?? 0n, 'LOG_ALL') ? state.log?.area : undefined;
      },
      inflightOf: (index) => state.inflightOf(index),
    });
  }

  has(name: ProtocolFeature): boolean {
    return hasProtocol(this.protocol, name);
  }

  private inflightOf(index: number): RingSetup['inflight'] {
    const { inflight } = this;
    if (inflight === undefined || index >= inflight.queues) return undefined;
    const { window, offset } = inflight.place;
    return { window, offset: offset + index * inflight.queueBytes, size: inflight.queueSize };
  }

  /** Whether memory of the front end's was taken from under us. */
  get faulted(): boolean {
    const { memory, table, log, inflight } = this;
    const mappings = [...table.regions.map(({ mapping }) => mapping), log?.mapping, inflight?.mapping];
    return mappings.some((mapping) => mapping !== undefined && memory.faulted(mapping));
  }

  /** Stops all rings, then releases all. Rejects when a worker does not step back: then nothing but the rings has changed. */
  async close(): Promise<void> {
    await this.rings.reset();
    unmapTable(this.memory, this.table);
    this.table = new MemoryTable();
    this.log?.release();
    this.log = undefined;
    this.inflight?.release();
    this.inflight = undefined;
    if (this.logFd >= 0) this.native.close(this.logFd);
    this.logFd = -1;
    this.requests?.close();
    this.requests = undefined;
  }
}
