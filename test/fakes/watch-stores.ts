/** Looking at shared memory between the stores of a queue that publish something. */

/**
 * Calls `look` after each publishing store while `run` runs. The queues that `run` makes believe to be on arm64, where
 * every such store is one of `Atomics` (docs/adr/0003-barriers.md).
 */
export function watchStores(run: () => void, look: () => void): void {
  const { store } = Atomics;
  const arch = Object.getOwnPropertyDescriptor(process, 'arch')!;
  Object.defineProperty(process, 'arch', { ...arch, value: 'arm64' });
  Atomics.store = ((view: Int32Array, at: number, value: number) => {
    const result = store(view, at, value);
    look();
    return result;
  }) as typeof Atomics.store;
  try {
    run();
  } finally {
    Atomics.store = store;
    Object.defineProperty(process, 'arch', arch);
  }
  look();
}
