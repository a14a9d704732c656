/** A back end on a socket of its own, with a fake driver; everything is taken down after each test. */
import { closeSync } from 'node:fs';
import { afterEach, expect } from 'vitest';
import { BackEnd } from '../../lib/vhost-user/backend.ts';
import { PeerMemory } from '../../lib/vhost-user/peer-memory.ts';
import type { Native } from '../../native/index.ts';
import { openFds } from './fds.ts';
import { RawFrontEnd, type Shared, sharedMemory } from './raw-front-end.ts';
import { FakeOwner } from './ring-owner.ts';

let made = 0;

export interface World {
  readonly path: string;
  readonly owner: FakeOwner;
  readonly memory: PeerMemory;
  readonly backEnd: BackEnd;
  /** A front end that is connected. */
  front(): Promise<RawFrontEnd>;
  /** One that has negotiated. */
  ready(features?: bigint, protocol?: bigint): Promise<RawFrontEnd>;
  shared(length?: number): Shared;
  eventfd(): number;
}

/** Makes worlds. After each test: nothing of a peer's is mapped, the fake was called in an order that can be, no fd is left. */
export function backEnds(native: Native, inFolder: (name: string) => string) {
  const cleanUp: (() => void | Promise<void>)[] = [];
  let before: Map<number, string> | undefined;
  afterEach(async () => {
    for (const step of cleanUp.splice(0).reverse()) await step();
    if (before === undefined) return;
    const left = [...openFds()].filter(([fd, what]) => before?.get(fd) !== what);
    before = undefined;
    expect(left).toEqual([]);
  });

  return (options: { pairs?: number; gib?: number; withinMs?: number; uid?: number } = {}): World => {
    before ??= openFds();
    const { pairs = 1, gib = 1, withinMs = 5000, uid } = options;
    const owner = new FakeOwner(pairs);
    const memory = new PeerMemory(native, gib);
    const path = inFolder(`back-end-${made++}`);
    const backEnd = new BackEnd({ native, memory, path, client: false, uid, withinMs });
    backEnd.serve(owner);
    cleanUp.push(async () => {
      await backEnd.retire();
      expect(memory.used, 'bytes that are still mapped').toBe(0);
      expect(owner.wrong).toEqual([]);
      expect(owner.running.size).toBe(0);
    });
    // Those that have hung up are forgotten: a test may have some ten thousand of them.
    const fronts = new Set<RawFrontEnd>();
    cleanUp.push(() => {
      for (const one of fronts) one.close();
    });
    const front = async () => {
      const one: RawFrontEnd = await RawFrontEnd.connect(native, path, () => fronts.delete(one));
      fronts.add(one);
      return one;
    };
    return {
      ...{ path, owner, memory, backEnd, front },
      async ready(features, protocol) {
        const one = await front();
        await one.negotiate(features, protocol);
        return one;
      },
      shared(length) {
        const shared = sharedMemory(native, length);
        cleanUp.push(() => shared.close());
        return shared;
      },
      eventfd() {
        const fd = native.eventfd();
        cleanUp.push(() => closeSync(fd));
        return fd;
      },
    };
  };
}
