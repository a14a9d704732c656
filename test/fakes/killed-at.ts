/** A process that is killed at one of its stores to shared memory. */

const KILLED = new Error('killed');
const VIEWS = ['Uint8Array', 'Uint16Array', 'Int32Array', 'BigInt64Array', 'DataView'] as const;

/** What stands in the place of a view of memory that others see: each store is counted, and the last one is not done. */
function counted<T extends object>(view: T, allowed: () => boolean): T {
  return new Proxy(view, {
    get(target, key) {
      const value = Reflect.get(target, key, target) as unknown;
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (String(key).startsWith('set') && !allowed()) throw KILLED;
        return value.apply(target, args);
      };
    },
    set(target, key, value) {
      if (!allowed()) throw KILLED;
      return Reflect.set(target, key, value, target);
    },
  });
}

/**
 * Runs `life`, which makes its views of `windows` anew, up to its `at`th store (from 0) to any of them: that one is not
 * done, nor anything after it. Returns true when it came to its end before.
 */
export function killedAt(windows: readonly SharedArrayBuffer[], at: number, life: () => void): boolean {
  let stores = 0;
  const allowed = () => stores++ < at;
  const global = globalThis as unknown as Record<string, new (...args: unknown[]) => object>;
  const real = VIEWS.map((name) => global[name]);
  VIEWS.forEach((name, i) => {
    const Real = real[i];
    const Counted = function (this: unknown, ...args: unknown[]): object {
      const view = new Real(...args);
      return windows.includes(args[0] as SharedArrayBuffer) ? counted(view, allowed) : view;
    } as unknown as new (
      ...args: unknown[]
    ) => object;
    Object.setPrototypeOf(Counted, Real);
    Counted.prototype = Real.prototype;
    global[name] = Counted;
  });
  try {
    life();
    return true;
  } catch (error) {
    if (error !== KILLED) throw error;
    return false;
  } finally {
    VIEWS.forEach((name, i) => {
      global[name] = real[i];
    });
  }
}
