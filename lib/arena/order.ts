/**
 * How a ring index is published and polled: the one place where the choice is made (docs/adr/0003-barriers.md).
 * Data half.
 */

/** Access to shared ring indices. `store` publishes: everything written before it is visible to who loads the index. */
export interface IndexAccess {
  load(view: Int32Array, at: number): number;
  store(view: Int32Array, at: number, value: number): void;
}

const plain: IndexAccess = {
  load: (view, at) => view[at],
  store: (view, at, value) => {
    view[at] = value;
  },
};

const atomic: IndexAccess = {
  load: (view, at) => Atomics.load(view, at),
  store: (view, at, value) => {
    Atomics.store(view, at, value);
  },
};

/**
 * Returns plain accesses on x64 and Atomics elsewhere. x64 keeps stores in order and loads in order (TSO), and V8
 * neither reorders nor merges plain typed-array accesses of a polling function that returns to its caller; an Atomics
 * access costs 10 to 18 ns there because V8 calls a builtin for it.
 */
export function indexAccess(arch: string = process.arch): IndexAccess {
  return arch === 'x64' ? plain : atomic;
}

/**
 * Store-load fence: `value` is stored, and no later load is done before the store is seen by all. For the two places
 * where each side writes its own word and then reads the other's (arm and kick).
 */
export function storeFence(view: Int32Array, at: number, value: number): void {
  Atomics.store(view, at, value);
}
