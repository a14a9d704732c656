/**
 * The frame pool's control half: geometry, memory, and what is free where. A frame is a power-of-two block of DMA
 * memory; the frame of any offset in it is `offset & ~(frameSize - 1)`.
 */
import { ArenaError } from '../errors.ts';
import type { Arena, Segment } from './arena.ts';
import { DEPOT, type FramesPlan, OWNER, stackBytes } from './frames-plan.ts';

/** How a pool is laid out. */
export interface FramePoolOptions {
  /** Number of frames: 16384 if absent. */
  readonly frames?: number;
  /** Bytes per frame: a power of two from 512 to 65536, 2048 if absent. */
  readonly frameSize?: number;
  /** Bytes kept free before a packet: a multiple of 64, 256 if absent (what AF_XDP keeps). */
  readonly headroom?: number;
  /** Huge pages: see `MemoryOptions`. */
  readonly hugepages?: 'no' | 'try' | 'need';
}

const MIN_FRAME = 512;
const MAX_FRAME = 65_536;
const MIN_ROOM = 256;

const HUGE = ['no', 'try', 'need'];

const isPowerOfTwo = (n: number): boolean => (n & (n - 1)) === 0;

function check(options: Required<FramePoolOptions>): void {
  const { frames, frameSize, headroom, hugepages } = options;
  const bad = (what: string, why: string, fix: string) => {
    throw new ArenaError('BAD_FRAME_POOL', { what, why, fix }, { detail: { frames, frameSize, headroom, hugepages } });
  };
  const fits = Number.isInteger(frameSize) && frameSize >= MIN_FRAME && frameSize <= MAX_FRAME;
  if (!fits || !isPowerOfTwo(frameSize)) {
    bad(
      `frame size ${frameSize}`,
      `it is no power of two from ${MIN_FRAME} to ${MAX_FRAME}`,
      'use 2048, which holds an ordinary packet, or 16384 for jumbo frames',
    );
  }
  if (!Number.isInteger(headroom) || headroom < 0 || headroom % 64 !== 0 || headroom + MIN_ROOM > frameSize) {
    bad(
      `headroom ${headroom}`,
      `it is no multiple of 64 that leaves ${MIN_ROOM} bytes of a frame of ${frameSize}`,
      'use 256, or larger frames',
    );
  }
  if (!Number.isSafeInteger(frames) || frames < 1) {
    bad(`${frames} frames`, 'it is no number of frames', 'use one or more, 4096 or more for traffic');
  }
  if (!HUGE.includes(hugepages)) bad(`hugepages ${hugepages}`, 'it is no choice', `use ${HUGE.join(', ')}`);
}

/** A pool of frames. All of them start in the depot. */
export class FramePool {
  readonly plan: FramesPlan;
  readonly segment: Segment;
  private readonly arena: Arena;
  private readonly depot: Int32Array;

  constructor(arena: Arena, options: FramePoolOptions = {}, debug = false) {
    const geometry = { frames: 16_384, frameSize: 2048, headroom: 256, hugepages: 'no' as const, ...options };
    check(geometry);
    const { frames: count, frameSize, headroom } = geometry;
    this.arena = arena;
    this.segment = arena.mapMemory(count * frameSize, { huge: geometry.hugepages, align: Math.max(frameSize, 4096) });
    let depot = 0;
    try {
      depot = arena.allocate(stackBytes(count));
      const owners = debug ? arena.allocate(count) : 0;
      this.plan = { base: this.segment.offset, count, frameSize, headroom, depot, owners };
    } catch (error) {
      if (depot !== 0) arena.free(depot);
      arena.unmap(this.segment);
      throw error;
    }
    this.depot = new Int32Array(arena.memory, depot, DEPOT.first + count);
    this.refill(this.all());
  }

  /** Bytes that a packet may have. */
  get room(): number {
    return this.plan.frameSize - this.plan.headroom;
  }

  /** Frames in the depot. */
  get inDepot(): number {
    return Atomics.load(this.depot, DEPOT.top);
  }

  /**
   * Puts every frame that none of `holders` has into the depot, and returns how many were missing before. For when all
   * workers stand still: `holders` are their stacks and all rings, in any offset form.
   */
  sweep(holders: Iterable<Iterable<number>>): number {
    const { base, count, frameSize, owners } = this.plan;
    const held = new Uint8Array(count);
    const mark = (offset: number) => {
      const index = Math.floor((offset - base) / frameSize);
      if (index >= 0 && index < count) held[index] = 1;
    };
    for (const holder of holders) for (const offset of holder) mark(offset);
    const before = this.inDepot;
    const free = this.all().filter((offset) => held[(offset - base) / frameSize] === 0);
    if (owners !== 0) for (const offset of free) this.arena.u8[owners + (offset - base) / frameSize] = OWNER.free;
    Atomics.store(this.depot, DEPOT.lock, 0); // whoever held it is gone
    this.refill(free);
    return free.length - before;
  }

  /** Takes the depot's lock from a worker that died with it. */
  unlock(worker: number): void {
    Atomics.compareExchange(this.depot, DEPOT.lock, worker + 1, 0);
  }

  /** Gives the memory back. Nobody may use the frames any more. */
  close(): void {
    if (this.plan.owners !== 0) this.arena.free(this.plan.owners);
    this.arena.free(this.plan.depot);
    this.arena.unmap(this.segment);
  }

  private all(): Int32Array {
    const { base, count, frameSize } = this.plan;
    return Int32Array.from({ length: count }, (_, i) => base + i * frameSize);
  }

  private refill(frames: Int32Array): void {
    // Highest first: frames come out in the order of their addresses.
    this.depot.set(frames.toReversed(), DEPOT.first);
    Atomics.store(this.depot, DEPOT.top, frames.length);
  }
}
