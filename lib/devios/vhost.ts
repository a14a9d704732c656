/** devio `devio-vhost`: a vhost-user socket whose back end we are. Control half. */
import type { Native } from '../../native/index.ts';
import type { Arena } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import { DevioError } from '../errors.ts';
import { type Api, type Device, type Devio, type DevioProvider, FRAMEWORK_API } from '../framework/types.ts';
import { BackEnd } from '../vhost-user/backend.ts';
import { PeerMemory } from '../vhost-user/peer-memory.ts';
import { type RingOwner, VHOST_API, type VhostDevio } from '../vhost-user/types.ts';

/** How long the rest of a message may take, in ms. */
const MESSAGE_MS = 5000;

/** Returns `devio` as what its api says it is. Throws `WRONG_DEVIO` when a driver was given another kind. */
export function asVhostDevio(devio: Devio): VhostDevio {
  if (devio.api.name === VHOST_API.name && devio.api.version === VHOST_API.version) return devio as VhostDevio;
  throw new DevioError('WRONG_DEVIO', {
    what: `devio ${devio.api.name} ${devio.api.version}`,
    why: `the driver needs ${VHOST_API.name} ${VHOST_API.version}`,
    fix: 'let the framework match drivers and devios',
  });
}

class BackEndDevio implements VhostDevio {
  readonly api = VHOST_API;
  readonly backend = 'vhost-user';
  readonly memory: SharedArrayBuffer;
  readonly frames: FramePool;
  readonly windows: readonly SharedArrayBuffer[];
  readonly native: Native;
  readonly wishes: Readonly<Record<string, string | number | boolean>>;
  private readonly arena: Arena;
  private readonly offsets = new Set<number>();
  private readonly backEnd: BackEnd;

  constructor(arena: Arena, frames: FramePool, { facts }: Device, withinMs: number) {
    this.arena = arena;
    this.memory = arena.memory;
    this.native = arena.native;
    this.frames = frames;
    this.wishes = facts;
    const memory = new PeerMemory(arena.native, Number(facts.memory));
    this.windows = memory.windows;
    this.backEnd = new BackEnd({
      native: arena.native,
      memory,
      path: String(facts.path),
      client: facts.client === true,
      uid: typeof facts.uid === 'number' ? facts.uid : undefined,
      withinMs,
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

  serve(owner: RingOwner): void {
    this.backEnd.serve(owner);
  }

  configChanged(): void {
    this.backEnd.configChanged();
  }

  broken(): void {
    this.backEnd.broken();
  }

  retire(): Promise<void> {
    return this.backEnd.retire();
  }

  async close(): Promise<void> {
    await this.retire();
    for (const offset of this.offsets) this.arena.free(offset);
    this.offsets.clear();
  }
}

/** Makes the provider. `withinMs` is for tests. */
export function vhostDevio(
  arena: Arena,
  frames: FramePool,
  enumeratorApi: Api,
  withinMs: number = MESSAGE_MS,
): DevioProvider {
  return {
    name: 'vhost',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    api: VHOST_API,
    backend: 'vhost-user',
    enumeratorApi,
    usable: ({ facts }) => facts.kind === 'vhost-user' || 'it is a port of the other end: it is driven by virtio-net',
    open: (device) => new BackEndDevio(arena, frames, device, withinMs),
  };
}
