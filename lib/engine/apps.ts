/** From what a user calls an application to what a worker can import. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isAbsolute, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AppName } from '../../workers/plan.ts';
import { PlanError, WorkerError } from '../errors.ts';
import { checkApp } from './specs.ts';
import type { AppSpec } from './types.ts';

/** Applications that linecard brings. */
export const BUILT_IN_APPS = ['l2fwd', 'gen', 'sink', 'ping', 'udp-echo'] as const;

const isBuiltIn = (name: string): boolean => (BUILT_IN_APPS as readonly string[]).includes(name);

function missing(module: string, why: string, cause?: unknown): WorkerError {
  const fix = `check the path; built in are ${BUILT_IN_APPS.join(', ')}`;
  return new WorkerError(
    'APP_MODULE_MISSING',
    { what: `application ${module}`, why, fix },
    { cause, detail: { module } },
  );
}

function urlOf(module: string): string {
  if (module.startsWith('file:') || module.startsWith('data:')) return module;
  if (isAbsolute(module) || /^\.\.?\//.test(module)) {
    const path = resolve(module);
    if (!existsSync(path)) throw missing(module, `there is no file ${path}`);
    return pathToFileURL(path).href;
  }
  try {
    return pathToFileURL(createRequire(`${process.cwd()}/`).resolve(module)).href;
  } catch (cause) {
    throw missing(module, 'no such package can be found from the working directory', cause);
  }
}

function cloneable(module: string, options: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  try {
    return structuredClone(options);
  } catch (cause) {
    const why = `its options cannot be sent to a worker (${(cause as Error).message})`;
    throw new PlanError('BAD_APP_OPTION', { what: `application ${module}`, why, fix: 'give plain data' }, { cause });
  }
}

/** Resolves `app` from the working directory. Throws `BAD_JOB`, `BAD_APP_OPTION`, `APP_MODULE_MISSING`. */
export function resolveApp(app: AppSpec): AppName {
  checkApp(app);
  const module = String(app.module);
  const options = cloneable(module, app.options ?? {});
  if (isBuiltIn(module)) {
    const here = import.meta.url;
    const extension = here.endsWith('.ts') ? 'ts' : 'js';
    const url = new URL(`../../workers/apps/${module}.${extension}`, here).href;
    return { module: url, export: app.export ?? module, options };
  }
  return { module: urlOf(module), export: app.export ?? 'default', options };
}
