/** devio `devio-vhost-user`: a virtio device behind a vhost-user socket, whose front end we are. Control half. */
import type { Arena } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import { DevioError } from '../errors.ts';
import { type Api, type Device, type Devio, type DevioProvider, FRAMEWORK_API } from '../framework/types.ts';
import { macOf, unwantedFeatures } from '../vhost-user/local.ts';
import { FrontEndTransport } from '../vhost-user/transport.ts';
import type { VirtioDevio } from '../virtio/transport.ts';
import { parseMac } from '../wire/mac.ts';
import { SharedHeap } from './shared-heap.ts';

/** What drivers ask for. */
export const VHOST_USER_API: Api = { name: 'devio-vhost-user', version: 1 };

/** How long each answer of a back end may take, in ms. */
const REPLY_MS = 5000;

/** Returns `devio` as what its api says it is. Throws `WRONG_DEVIO` when a driver was given another kind. */
export function asVirtioDevio(devio: Devio): VirtioDevio {
  if (devio.api.name === VHOST_USER_API.name && devio.api.version === VHOST_USER_API.version)
    return devio as VirtioDevio;
  throw new DevioError('WRONG_DEVIO', {
    what: `devio ${devio.api.name} ${devio.api.version}`,
    why: `the driver needs ${VHOST_USER_API.name} ${VHOST_USER_API.version}`,
    fix: 'let the framework match drivers and devios',
  });
}

class FrontEndDevio implements VirtioDevio {
  readonly api = VHOST_USER_API;
  readonly backend = 'vhost-user';
  readonly transport: FrontEndTransport;
  readonly memory: SharedArrayBuffer;
  readonly frames: FramePool;
  readonly frameAddresses = 0;
  readonly wishes: Readonly<Record<string, string | number | boolean>>;
  private readonly arena: Arena;
  private readonly offsets = new Set<number>();
  /** Rings, in memory of their own: the back end sees it whole. */
  private readonly shared: SharedHeap;
  private closed = false;

  constructor(arena: Arena, frames: FramePool, { facts }: Device, replyMs: number) {
    this.arena = arena;
    this.memory = arena.memory;
    this.frames = frames;
    this.wishes = facts;
    // The transport shows what there is whenever a queue starts.
    this.shared = new SharedHeap(arena, { show: () => {}, hide: () => {} });
    const path = String(facts.path);
    const mac = typeof facts.mac === 'string' ? parseMac(facts.mac) : macOf(`virtio-user:${path}`);
    const means = {
      native: arena.native,
      segments: () => [frames.segment, ...this.shared.segments()],
      openMs: Number(facts.wait) * 1000,
      replyMs,
    };
    this.transport = new FrontEndTransport(means, {
      path,
      server: facts.server === true,
      queues: Number(facts.queues),
      packed: facts.packed === true,
      mac,
      mtu: Number(facts.mtu ?? 0),
      without: unwantedFeatures(facts),
      inflight: facts.inflight === true,
    });
  }

  allocate(bytes: number): number {
    const offset = this.arena.allocate(bytes);
    this.offsets.add(offset);
    return offset;
  }

  free(offset: number): void {
    if (this.offsets.delete(offset)) this.arena.free(offset);
  }

  allocateShared(bytes: number, align: number): number {
    return this.shared.allocate(bytes, align);
  }

  freeShared(offset: number): void {
    this.shared.free(offset);
  }

  addressOf(offset: number): bigint {
    return BigInt(offset);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    // The back end first: it is told nothing, but nobody answers for the memory after this.
    this.transport.close();
    for (const offset of this.offsets) this.arena.free(offset);
    this.offsets.clear();
    this.shared.close();
  }
}

/** Makes the provider. `replyMs` is for tests. */
export function vhostUserDevio(
  arena: Arena,
  frames: FramePool,
  enumeratorApi: Api,
  replyMs: number = REPLY_MS,
): DevioProvider {
  return {
    name: 'vhost-user',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    api: VHOST_USER_API,
    backend: 'vhost-user',
    enumeratorApi,
    usable: ({ facts }) => facts.kind === 'virtio-user' || 'it is a port of the other end: it is driven by vhost',
    async open(device) {
      const devio = new FrontEndDevio(arena, frames, device, replyMs);
      try {
        await devio.transport.open();
        return devio;
      } catch (error) {
        devio.close();
        throw error;
      }
    },
  };
}
