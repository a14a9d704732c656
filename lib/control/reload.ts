/** Exchanges a driver of a running engine for the release that a module has, and tells what came of it. */
import { pathToFileURL } from 'node:url';
import { orLate } from '../deadline.ts';
import type { Engine } from '../engine/engine.ts';
import type { RunStats } from '../engine/results.ts';
import { RegistryError, toPlainError } from '../errors.ts';
import type { Driver, FrameworkEvent } from '../framework/types.ts';
import type { ControlRequest } from './protocol.ts';

/** How long a module may take to load: it may wait for something at its top level. */
const IMPORT_MS = 10_000;

/** What became of a device: its rings went on; it was reset and set up anew; it was unbound, and perhaps bound again. */
export interface ReloadedDevice {
  readonly device: string;
  readonly how: 'kept' | 'anew' | 'unbound';
  readonly error?: string;
}

/** What came of a reload. */
export interface Reloaded {
  readonly driver: string;
  readonly before: string;
  readonly version: string;
  readonly devices: readonly ReloadedDevice[];
  /** Frames that were in rings or in an application's hands, and are counted as lost or stopped. */
  readonly lost: number;
  /** How long the exchange took, without the loading of the module. */
  readonly ms: number;
}

function refuse(code: string, driver: string, why: string, fix: string, cause?: unknown): RegistryError {
  return new RegistryError(
    code,
    { what: `reload of driver ${driver}`, why, fix },
    cause === undefined ? {} : { cause },
  );
}

/** Reloads drivers of one engine, one at a time. */
export class Reloader {
  private readonly engine: Engine;
  private loads = 0;
  private busy = false;

  constructor(engine: Engine) {
    this.engine = engine;
  }

  /**
   * Throws `NO_SUCH_DRIVER`, `RELOAD_BUSY`, `MODULE_MISSING`, `NO_DRIVER_IN_MODULE`, `OLDER_VERSION`, and what
   * `Framework.replaceDriver` does; the engine goes on as it was then.
   */
  async reload(request: ControlRequest): Promise<Reloaded> {
    if (this.busy)
      throw refuse('RELOAD_BUSY', request.driver, 'another reload goes on', 'try again when that has ended');
    this.busy = true;
    try {
      const before = this.find(request.driver);
      const next = await this.load(request);
      if (!request.older && isOlder(next.version, before)) {
        const why = `the module has ${next.version}, which is older than ${before}`;
        throw refuse('OLDER_VERSION', request.driver, why, 'use --older if that is what you want');
      }
      return await this.exchange(next, before);
    } finally {
      this.busy = false;
    }
  }

  /** The version of the driver that runs. */
  private find(name: string): string {
    const drivers = this.engine.framework.drivers();
    const found = drivers.find((driver) => driver.name === name);
    if (found !== undefined) return found.version;
    const known = drivers.map((driver) => driver.name).join(', ');
    throw refuse('NO_SUCH_DRIVER', name, 'none of that name is registered', `registered are: ${known}`);
  }

  private async load({ driver, module, export: name }: ControlRequest): Promise<Driver> {
    const url = new URL(module.startsWith('file:') ? module : pathToFileURL(module));
    // A module is loaded once for each name that it has: this is a new one, in case that the file has changed.
    url.searchParams.set('reload', String(++this.loads));
    let exports: Readonly<Record<string, unknown>>;
    try {
      exports = await orLate(import(url.href), IMPORT_MS, tooLong);
    } catch (cause) {
      const why = `its module ${module} cannot be loaded (${toPlainError(cause).message})`;
      throw refuse('MODULE_MISSING', driver, why, 'check the path, and that node can import it', cause);
    }
    return driverOf(driver, { module, name, exports });
  }

  private async exchange(next: Driver, before: string): Promise<Reloaded> {
    const { framework } = this.engine;
    const devices = new Map<string, ReloadedDevice>();
    const errors = new Map<string, string>();
    const forget = framework.on((event: FrameworkEvent) => {
      if (!('device' in event) || event.device === undefined) return;
      const { id } = event.device;
      if (event.type === 'error') errors.set(id, event.error.message);
      if (event.type === 'device-unbound') devices.set(id, { device: id, how: 'unbound' });
      if (event.type === 'driver-replaced') devices.set(id, { device: id, how: event.kept ? 'kept' : 'anew' });
    });
    const run = this.engine.activeRun;
    const was = lostIn(run?.stats());
    const begin = performance.now();
    try {
      await framework.replaceDriver(next);
    } finally {
      forget();
    }
    const ms = performance.now() - begin;
    const list = [...devices.values()].map((one): ReloadedDevice => {
      const error = errors.get(one.device);
      return error === undefined ? one : { ...one, error };
    });
    const lost = Number(lostIn(run?.stats()) - was);
    return { driver: next.name, before, version: next.version, devices: list, lost, ms };
  }
}

const tooLong = (): Error => new Error(`not within ${IMPORT_MS / 1000} s`);

interface Loaded {
  readonly module: string;
  readonly name: string;
  readonly exports: Readonly<Record<string, unknown>>;
}

/** The driver that export `name` is, or makes. Throws `NO_DRIVER_IN_MODULE`. */
async function driverOf(driver: string, { module, name, exports }: Loaded): Promise<Driver> {
  const names = Object.keys(exports).join(', ') || 'nothing';
  const none = (why: string, cause?: unknown) => {
    const fix = `write MODULE#EXPORT for a driver, or a function that makes one; it exports ${names}`;
    return refuse('NO_DRIVER_IN_MODULE', driver, `what ${module} exports as ${name} ${why}`, fix, cause);
  };
  let made = exports[name];
  if (typeof made === 'function') {
    try {
      made = await orLate(Promise.resolve((made as () => unknown)()), IMPORT_MS, tooLong);
    } catch (cause) {
      throw none(`makes none (${toPlainError(cause).message})`, cause);
    }
  }
  if (typeof made !== 'object' || made === null || !('name' in made)) throw none('is none');
  if (made.name !== driver) throw none(`is called ${String(made.name)}`);
  return made as Driver;
}

/** Frames that are counted as lost or stopped so far. */
function lostIn(stats: RunStats | undefined): bigint {
  if (stats === undefined) return 0n;
  const sides = Object.values(stats.ports).flatMap(({ rx, tx }) => [rx.lost, rx.stopped, tx.lost, tx.stopped]);
  const jobs = stats.jobs.flatMap(({ frames }) => [frames.dropped_stopped, frames.dropped_app_died]);
  return [...sides, ...jobs].reduce((sum: bigint, n) => sum + (n ?? 0n), 0n);
}

/** Whether release `a` comes before `b`: numbers between dots; others are not compared. */
function isOlder(a: string, b: string): boolean {
  const numbers = (version: string) => version.split('.').map(Number);
  const [first, second] = [numbers(a), numbers(b)];
  if ([...first, ...second].some(Number.isNaN)) return false;
  for (let i = 0; i < Math.max(first.length, second.length); i++) {
    const difference = (first[i] ?? 0) - (second[i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
