/** From an application's name to its burst function: import, factory, and an error that says which of them failed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { LinecardError, WorkerError } from '../lib/errors.ts';
import type { App, AppContext, BurstFunction } from '../lib/queue.ts';
import type { AppName } from './plan.ts';

/** Longest that a module may take to load, in milliseconds. */
const LOAD_MS = 10_000;

/** An error of application `app`. */
export function appError(code: string, app: AppName, why: string, fix: string, cause?: unknown): WorkerError {
  const what = `application ${app.module}#${app.export}`;
  return new WorkerError(code, { what, why, fix }, { cause, detail: { module: app.module, export: app.export } });
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

/**
 * Each job has an instance of its application's module, by a URL of its own, and so has each version that may differ
 * from the one before. V8 keeps what it learns about calls per function of a module instance: with one instance for two
 * jobs, no call in it has one target any more, and a packet costs nearly twice as much (docs/adr/0007-job-instances.md).
 */
function urlOf(app: AppName, job: number, version: number): string {
  if (!app.module.startsWith('file:')) return app.module;
  const url = new URL(app.module);
  url.searchParams.set('job', String(job));
  if (version > 0) url.searchParams.set('version', String(version));
  return url.href;
}

async function inTime<T>(load: Promise<T>, app: AppName): Promise<T> {
  const stop = new AbortController();
  const why = `its module was not loaded after ${LOAD_MS / 1000} s`;
  const late = sleep(LOAD_MS, undefined, { signal: stop.signal }).then(() => {
    throw appError('APP_LOAD_TIMEOUT', app, why, 'see what it awaits while it is loaded');
  });
  late.catch(() => {});
  try {
    return await Promise.race([load, late]);
  } finally {
    stop.abort();
  }
}

/** Imports `app`'s factory for job `job`. Throws `APP_MODULE_MISSING`, `APP_EXPORT_MISSING`, `APP_LOAD_TIMEOUT`. */
export async function loadApp(app: AppName, job: number, version: number): Promise<App> {
  let module: Record<string, unknown>;
  try {
    module = await inTime(import(urlOf(app, job, version)), app);
  } catch (cause) {
    if (cause instanceof LinecardError) throw cause;
    const why = `the module cannot be loaded (${messageOf(cause)})`;
    throw appError(
      'APP_MODULE_MISSING',
      app,
      why,
      'check its path, and that it is JavaScript that Node can import',
      cause,
    );
  }
  const factory = module[app.export];
  if (typeof factory === 'function') return factory as App;
  const why = `the module exports ${Object.keys(module).join(', ') || 'nothing'}, no function "${app.export}"`;
  throw appError('APP_EXPORT_MISSING', app, why, 'export a factory by that name, or name another');
}

/** Calls `factory`. Throws `APP_THREW`, `APP_NOT_A_FACTORY`, and what the application throws of linecard's errors. */
export function callFactory(factory: App, app: AppName, context: AppContext): BurstFunction {
  let poll: unknown;
  try {
    poll = factory(context);
  } catch (cause) {
    if (cause instanceof LinecardError) throw cause;
    throw appError('APP_THREW', app, `its factory threw (${messageOf(cause)})`, 'mend the application', cause);
  }
  if (typeof poll === 'function') return poll as BurstFunction;
  const what = poll instanceof Promise ? 'a promise' : typeof poll;
  const fix = 'return a function that handles one burst and returns the number of frames';
  throw appError('APP_NOT_A_FACTORY', app, `it returned ${what}, not a burst function`, fix);
}
