import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { Arena } from '../../lib/arena/arena.ts';
import { FramePool, type FramePoolOptions } from '../../lib/arena/frame-pool.ts';
import { makeFrameStack } from '../../lib/arena/frame-stack.ts';
import { DEPOT, OWNER, stackBytes } from '../../lib/arena/frames-plan.ts';
import { loadNative } from '../../native/index.ts';
import { codeOf, thrown } from '../fakes/errors.ts';
import { countFds } from '../fakes/fds.ts';

const native = loadNative();
let arena = new Arena(native);

afterEach(() => {
  arena.close();
  arena = new Arena(native);
  expect(countFds('memfd:linecard')).toBe(0);
});

/** Offsets that are in the depot. */
function depotOf(pool: FramePool): number[] {
  const words = new Int32Array(arena.memory, pool.plan.depot, DEPOT.first + pool.plan.count);
  return [...words.subarray(DEPOT.first, DEPOT.first + pool.inDepot)];
}

describe('a frame pool', () => {
  it('has 16384 frames of 2048 bytes, 256 of them headroom, unless it is told otherwise', () => {
    const pool = new FramePool(arena);
    expect(pool.plan).toMatchObject({ count: 16_384, frameSize: 2048, headroom: 256, owners: 0 });
    expect(pool.room).toBe(1792);
    expect(pool.segment.length).toBe(16_384 * 2048);
    expect(pool.inDepot).toBe(16_384);
  });

  it('places every frame at a multiple of its size, all in DMA memory', () => {
    for (const frameSize of [512, 1024, 4096, 65_536]) {
      const pool = new FramePool(arena, { frames: 10, frameSize, headroom: 64 });
      const frames = depotOf(pool).sort((a, b) => a - b);
      expect(frames).toEqual(Array.from({ length: 10 }, (_, i) => pool.plan.base + i * frameSize));
      for (const frame of frames) {
        expect(frame & ~(frameSize - 1)).toBe(frame);
        expect(frame).toBeGreaterThanOrEqual(65_536);
      }
      expect((frames.at(-1) as number) + frameSize).toBeLessThanOrEqual(pool.segment.offset + pool.segment.length);
      pool.close();
    }
    expect(arena.mapped()).toEqual([]);
  });

  const refusals: [FramePoolOptions, string][] = [
    [
      { frameSize: 1500 },
      'frame size 1500: it is no power of two from 512 to 65536; use 2048, which holds an ordinary packet, or 16384 for jumbo frames',
    ],
    [{ frameSize: 256 }, 'frame size 256: it is no power of two from 512 to 65536'],
    [{ frameSize: 131_072 }, 'frame size 131072: it is no power of two from 512 to 65536'],
    [{ frameSize: Number.NaN }, 'frame size NaN: it is no power of two'],
    [{ frameSize: 2 ** 32 + 2048 }, 'frame size 4294969344: it is no power of two'],
    [
      { headroom: 100 },
      'headroom 100: it is no multiple of 64 that leaves 256 bytes of a frame of 2048; use 256, or larger frames',
    ],
    [{ headroom: -64 }, 'headroom -64: it is no multiple of 64'],
    [{ headroom: 1856 }, 'headroom 1856: it is no multiple of 64 that leaves 256 bytes'],
    [
      { frameSize: 512, headroom: 320 },
      'headroom 320: it is no multiple of 64 that leaves 256 bytes of a frame of 512',
    ],
    [{ frames: 0 }, '0 frames: it is no number of frames; use one or more'],
    [{ frames: 1.5 }, '1.5 frames: it is no number of frames'],
    [{ frames: 1e300 }, '1e+300 frames: it is no number of frames'],
    [{ hugepages: 'yes' as 'no' }, 'hugepages yes: it is no choice; use no, try, need'],
  ];
  it.each(refusals)('refuses %j and says what would do', (options, message) => {
    const error = thrown(() => new FramePool(arena, options));
    expect(error.code).toBe('BAD_FRAME_POOL');
    expect(error.message).toContain(message);
    expect(arena.mapped()).toEqual([]);
  });

  it('that is too large for the arena or the machine is refused, and leaves nothing', () => {
    expect(codeOf(() => new FramePool(arena, { frames: 2 ** 40 }))).toBe('NO_MEMORY');
    const small = new Arena(native, { bytes: 4 * 1024 * 1024 });
    expect(codeOf(() => new FramePool(small, { frames: 1024 }))).toBe('ARENA_FULL');
    // The frames fit, but not their stacks.
    expect(codeOf(() => new FramePool(small, { frames: 960 }))).toBe('ARENA_FULL');
    expect(small.mapped()).toEqual([]);
    small.close();
  });

  it('gives its memory back', () => {
    const pool = new FramePool(arena, { frames: 100 }, true);
    expect(pool.plan.owners).toBeGreaterThan(0);
    pool.close();
    expect(arena.used.dma).toBe(0);
  });
});

describe('a sweep', () => {
  const COUNT = 64;

  it('puts into the depot what no holder has, each frame once, and says how many were missing', () => {
    const subset = fc.uniqueArray(fc.nat(COUNT - 1), { maxLength: COUNT });
    const anywhere = fc.nat(2047);
    fc.assert(
      fc.property(subset, subset, subset, anywhere, (taken, a, b, within) => {
        const pool = new FramePool(arena, { frames: COUNT });
        const { base, frameSize } = pool.plan;
        const offsets = (indices: readonly number[]) => indices.map((i) => base + i * frameSize + within);
        // Some frames leave the depot; holders name some of those, perhaps twice, and some that they don't have.
        const depot = new Int32Array(arena.memory, pool.plan.depot, DEPOT.first + COUNT);
        const left = depotOf(pool).filter((offset) => !taken.includes((offset - base) / frameSize));
        depot.set(left, DEPOT.first);
        depot[DEPOT.top] = left.length;
        const held = new Set([...a, ...b]);
        const missing = pool.sweep([
          offsets(a),
          offsets(b),
          offsets(a),
          [0, -1, base - 1, base + COUNT * frameSize, 2 ** 31],
        ]);
        const free = Array.from({ length: COUNT }, (_, i) => i).filter((i) => !held.has(i));
        expect(
          depotOf(pool)
            .map((offset) => (offset - base) / frameSize)
            .sort((x, y) => x - y),
        ).toEqual(free);
        expect(missing).toBe(free.length - left.length);
        pool.close();
      }),
    );
  });

  it('frees in the owner map what it frees, and leaves the rest', () => {
    const pool = new FramePool(arena, { frames: 4 }, true);
    const { owners, base, frameSize } = pool.plan;
    const map = arena.u8.subarray(owners, owners + 4);
    map.set([OWNER.held + 3, OWNER.ring, OWNER.held, OWNER.free]);
    pool.sweep([[base + frameSize + 256]]);
    expect([...map]).toEqual([OWNER.free, OWNER.ring, OWNER.free, OWNER.free]);
  });

  it('takes the lock from a worker that is no more; so does unlock, from that worker alone', () => {
    const pool = new FramePool(arena, { frames: 4 });
    const lock = new Int32Array(arena.memory, pool.plan.depot, 1);
    lock[DEPOT.lock] = 3;
    pool.unlock(1);
    expect(lock[DEPOT.lock]).toBe(3);
    pool.unlock(2);
    expect(lock[DEPOT.lock]).toBe(0);
    lock[DEPOT.lock] = 9;
    pool.sweep([]);
    expect(lock[DEPOT.lock]).toBe(0);
  });

  it('brings back the frames of a stack whose worker is gone', () => {
    const pool = new FramePool(arena, { frames: 1024 });
    const at = arena.allocate(stackBytes(1024));
    const stack = makeFrameStack(arena.memory, pool.plan, at, 0);
    const held = [stack.pop(), stack.pop()];
    const away = 1024 - pool.inDepot;
    expect(away).toBeGreaterThan(2); // more than it was asked for: the rest is on the stack
    expect(pool.sweep([held])).toBe(away - 2);
    expect(pool.inDepot).toBe(1022);
  });
});
