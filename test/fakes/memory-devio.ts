/** `devio-memory` over a plain SharedArrayBuffer: counts what was allocated and not freed. */
import type { MemoryDevio } from '../../lib/devios/memory.ts';

/** A devio whose memory a test can look at. */
export interface FakeDevio extends MemoryDevio {
  /** Offsets that are allocated now. */
  readonly allocated: ReadonlySet<number>;
}

const FIRST = 0x1_0000; // as in the arena: nothing lies below 64 KiB

/** Makes a devio with `bytes` of memory. What is freed is filled with rubbish, and never given out again. */
export function fakeDevio(bytes = 32 * 1024 * 1024): FakeDevio {
  const memory = new SharedArrayBuffer(bytes);
  const sizes = new Map<number, number>();
  const allocated = new Set<number>();
  let next = FIRST;
  return {
    api: { name: 'devio-memory', version: 1 },
    backend: 'fake',
    memory,
    allocated,
    allocate(size) {
      const offset = next;
      next = Math.ceil((next + size) / 64) * 64;
      if (next > bytes) throw new Error('the fake devio is full');
      sizes.set(offset, size);
      allocated.add(offset);
      return offset;
    },
    free(offset) {
      if (!allocated.delete(offset)) throw new Error(`${offset} is not allocated`);
      new Uint8Array(memory, offset, sizes.get(offset)).fill(0xa5);
    },
    eventfd: () => {
      throw new Error('no eventfds here');
    },
    shared: () => {
      throw new Error('nothing shared here');
    },
    close() {
      allocated.clear();
    },
  };
}
