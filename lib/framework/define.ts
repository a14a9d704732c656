/**
 * Shorthands for objects that live in the program that registers them. They fill in `version` 0.0.0 and the framework
 * API that this very linecard has, which the compiler has checked the object against. An object that is published on its
 * own states both itself: only then can a mismatch be noticed.
 */
import type { DevioProvider, Driver, Enumerator, EnumeratorClass, ObjectInfo } from './types.ts';
import { FRAMEWORK_API } from './types.ts';

/** `T`, of which the keys `K` need not be given. */
type Filled<T, K extends keyof T> = Omit<T, K> & Partial<Pick<T, K>>;
type Stated = Exclude<keyof ObjectInfo, 'name'>;

const stated = { version: '0.0.0', frameworkApi: FRAMEWORK_API } as const;

/** Completes a class whose enumerators are known beforehand. */
export function defineClass(options: {
  readonly name: string;
  readonly version?: string;
  readonly enumerators: readonly Filled<Enumerator, Stated>[];
}): EnumeratorClass {
  const { enumerators, ...info } = options;
  return {
    ...stated,
    ...info,
    start: (host) => {
      for (const enumerator of enumerators) host.addEnumerator({ ...stated, ...enumerator });
    },
  };
}

/** Completes a devio: usable for every device of its enumerator api, and named after its api, unless it says otherwise. */
export function defineDevio(devio: Filled<DevioProvider, Stated | 'name' | 'usable'>): DevioProvider {
  return { ...stated, name: devio.api.name, usable: () => true, ...devio };
}

/** Completes a driver: for every device of its enumerator class, unless it says otherwise. */
export function defineDriver(driver: Filled<Driver, Stated | 'ids'>): Driver {
  return { ...stated, ids: [{}], ...driver };
}
