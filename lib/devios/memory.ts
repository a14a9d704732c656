/** devio `devio-memory`: arena memory and eventfds for devices that exist in software only. Control half. */
import type { Arena } from '../arena/arena.ts';
import { doAll } from '../do-all.ts';
import { DevioError } from '../errors.ts';
import { type Api, type Device, type Devio, type DevioProvider, FRAMEWORK_API } from '../framework/types.ts';

/** What drivers ask for. */
export const MEMORY_API: Api = { name: 'devio-memory', version: 1 };

/** An open way to a device in memory. All that it gave is released when it is closed. */
export interface MemoryDevio extends Devio {
  /** The arena. */
  readonly memory: SharedArrayBuffer;
  /** Zeroed arena memory on cache lines of its own; returns its arena offset. Throws `NO_MEMORY`, `ARENA_FULL`. */
  allocate(bytes: number): number;
  /** Returns what `allocate` gave. */
  free(offset: number): void;
  /** A new eventfd. */
  eventfd(): number;
  /**
   * Memory and an eventfd that all devices asking for `key` share; released when the last of them is closed. Throws
   * `SHARED_SIZE` when another device asked for another size.
   */
  shared(key: string, bytes: number): Shared;
}

/** What devices share. */
export interface Shared {
  readonly offset: number;
  readonly fd: number;
}

/** Returns `devio` as what its api says it is. Throws `WRONG_DEVIO` when a driver was given another kind. */
export function asMemoryDevio(devio: Devio): MemoryDevio {
  if (devio.api.name === MEMORY_API.name && devio.api.version === MEMORY_API.version) return devio as MemoryDevio;
  throw new DevioError('WRONG_DEVIO', {
    what: `devio ${devio.api.name} ${devio.api.version}`,
    why: `the driver needs ${MEMORY_API.name} ${MEMORY_API.version}`,
    fix: 'let the framework match drivers and devios',
  });
}

/** Shared things by key, each with the devios that hold it. */
type Commons = Map<string, { readonly thing: Shared; readonly bytes: number; readonly holders: Set<MemoryDevio> }>;

class ArenaMemory implements MemoryDevio {
  readonly api = MEMORY_API;
  readonly backend = 'arena';
  readonly memory: SharedArrayBuffer;
  private readonly arena: Arena;
  private readonly commons: Commons;
  private readonly offsets = new Set<number>();
  private readonly fds = new Set<number>();

  constructor(arena: Arena, commons: Commons) {
    this.arena = arena;
    this.commons = commons;
    this.memory = arena.memory;
  }

  allocate(bytes: number): number {
    const offset = this.arena.allocate(bytes);
    this.offsets.add(offset);
    return offset;
  }

  free(offset: number): void {
    if (this.offsets.delete(offset)) this.arena.free(offset);
  }

  eventfd(): number {
    const fd = this.arena.native.eventfd();
    this.fds.add(fd);
    return fd;
  }

  shared(key: string, bytes: number): Shared {
    const known = this.commons.get(key);
    if (known !== undefined) {
      if (known.bytes !== bytes) {
        throw new DevioError('SHARED_SIZE', {
          what: `${bytes} bytes shared as "${key}"`,
          why: `another device asked for ${known.bytes}`,
          fix: 'give both devices the same settings',
        });
      }
      known.holders.add(this);
      return known.thing;
    }
    const fd = this.arena.native.eventfd();
    try {
      const thing = { offset: this.arena.allocate(bytes), fd };
      this.commons.set(key, { thing, bytes, holders: new Set([this]) });
      return thing;
    } catch (error) {
      this.arena.native.close(fd);
      throw error;
    }
  }

  close(): void {
    const { arena, commons } = this;
    const { native } = arena;
    const left = [...commons].filter(([, { holders }]) => holders.delete(this) && holders.size === 0);
    for (const [key] of left) commons.delete(key);
    const offsets = [...this.offsets, ...left.map(([, { thing }]) => thing.offset)];
    const fds = [...this.fds, ...left.map(([, { thing }]) => thing.fd)];
    this.offsets.clear();
    this.fds.clear();
    doAll([...offsets.map((offset) => () => arena.free(offset)), ...fds.map((fd) => () => native.close(fd))]);
  }
}

/** Makes the provider for the devices of one enumerator api (memory ports, files): nothing there can refuse. */
export function memoryDevio(arena: Arena, enumeratorApi: Api): DevioProvider {
  const commons: Commons = new Map();
  return {
    name: `memory-${enumeratorApi.name}`,
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    api: MEMORY_API,
    backend: 'arena',
    enumeratorApi,
    usable: (_device: Device) => true,
    open: (_device: Device) => new ArenaMemory(arena, commons),
  };
}
