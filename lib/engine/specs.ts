/** Checks jobs as a user wrote them: that they have the shape of a `JobSpec`, and nothing that nobody would read. */
import { PlanError } from '../errors.ts';
import type { AppSpec, JobSpec } from './types.ts';

const KEYS = {
  job: ['app', 'rx', 'tx', 'group', 'cpu'],
  app: ['module', 'export', 'options'],
  rx: ['port', 'queue'],
} as const;

type Refuse = (why: string, fix: string) => never;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function checkKeys(what: keyof typeof KEYS, value: unknown, refuse: Refuse): Record<string, unknown> {
  const known: readonly string[] = KEYS[what];
  if (!isObject(value))
    return refuse(`${what} is ${value === undefined ? 'missing' : 'no object'}`, `give ${what} ${known.join(', ')}`);
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) refuse(`${what} has no setting "${unknown}"`, `it has ${known.join(', ')}`);
  return value;
}

function checkAppKeys(app: unknown, refuse: Refuse): void {
  const { module, export: name, options } = checkKeys('app', app, refuse);
  if (typeof module !== 'string' && !(module instanceof URL))
    refuse('app.module is no string', 'name a module: l2fwd, ./app.mjs');
  if (name !== undefined && typeof name !== 'string') refuse('app.export is no string', 'name an export');
  if (options !== undefined && !isObject(options)) refuse('app.options is no object', 'give an object of plain data');
}

function checkJob(job: unknown, refuse: Refuse): void {
  const { app, rx, tx, group, cpu } = checkKeys('job', job, refuse);
  checkAppKeys(app, refuse);
  if (rx !== undefined && typeof checkKeys('rx', rx, refuse).port !== 'string')
    refuse('rx.port is no string', 'name a port');
  if (tx !== undefined && !(Array.isArray(tx) && tx.every((port) => typeof port === 'string'))) {
    refuse('tx is no list of port names', "give one: ['pair:a/0']");
  }
  if (group !== undefined && typeof group !== 'string') refuse('group is no string', 'give it a name');
  if (cpu !== undefined && typeof cpu !== 'number') refuse('cpu is no number', 'give the number of a cpu');
}

/** Throws `BAD_JOB` with what is wrong. */
export function checkJobs(jobs: readonly JobSpec[]): void {
  if (!Array.isArray(jobs)) refuser('jobs')('they are no list', 'give a list of jobs');
  for (const [index, job] of jobs.entries()) checkJob(job, refuser(`job ${index}`));
}

/** Throws `BAD_JOB` when `app` is no `AppSpec`. */
export function checkApp(app: AppSpec): void {
  checkAppKeys(app, refuser('application'));
}

function refuser(what: string): Refuse {
  return (why, fix) => {
    throw new PlanError('BAD_JOB', { what, why, fix });
  };
}
