/**
 * How a ring index is published and polled: the one place where the choice is made (docs/adr/0003-barriers.md).
 * Data half.
 */

/** Access to shared ring indices. `store` publishes: everything written before it is visible to who loads the index. */
export interface IndexAccess {
  /** Reads the index; what is read after it is at least as new. */
  load(view: Int32Array, at: number): number;
  /** Writes the index; whoever sees it sees what was written before it. */
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

/** The same for the 16-bit indices of virtio's rings. */
export interface IndexAccess16 {
  load(view: Uint16Array, at: number): number;
  store(view: Uint16Array, at: number, value: number): void;
}

const plain16: IndexAccess16 = {
  load: (view, at) => view[at],
  store: (view, at, value) => {
    view[at] = value;
  },
};

const atomic16: IndexAccess16 = {
  load: (view, at) => Atomics.load(view, at),
  store: (view, at, value) => {
    Atomics.store(view, at, value);
  },
};

/** As `indexAccess`, in functions of its own: V8 would have one that sees two kinds of views ask which it is each time. */
export function indexAccess16(arch: string = process.arch): IndexAccess16 {
  return arch === 'x64' ? plain16 : atomic16;
}

/**
 * Store-load fence: `value` is stored, and no later load is done before the store is seen by all. For the two places
 * where each side writes its own word and then reads the other's (arm and kick).
 */
export function storeFence(view: Int32Array, at: number, value: number): void {
  Atomics.store(view, at, value);
}
