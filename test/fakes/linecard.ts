/** The engine as a user has it, from the built package, and what it must give back. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Engine, EngineOptions, JobSpec, Run } from 'linecard';
import { openEngine } from 'linecard';
import { expect, onTestFinished } from 'vitest';
import { openFds } from './fds.ts';

/** A little application of `test/fakes/apps`. */
export const fake = (file: string, name?: string, options: Record<string, unknown> = {}) => ({
  module: new URL(`./apps/${file}.mjs`, import.meta.url),
  ...(name === undefined ? {} : { export: name }),
  options,
});
/** Forwards, whatever happens. */
export const forward = fake('forward');
export const consume = fake('forward', 'consume');

/** Failures are repeated quickly in tests; what hangs is given up as soon as an engine may. */
export const QUICK: EngineOptions = { restartMs: [5, 20], stallMs: 500, drainMs: 300 };

/** Opens an engine with `ports`, and closes it at the end of the test; a concurrent one says which test that is. */
export async function engineWith(
  ports: readonly string[],
  options: EngineOptions = {},
  atEnd: typeof onTestFinished = onTestFinished,
): Promise<Engine> {
  const engine = await openEngine({ frames: 4096, ...options });
  atEnd(() => engine.close());
  for (const port of ports) await engine.open(port);
  return engine;
}

/** A job from `rx` to `tx`. */
export const job = (
  app: JobSpec['app'],
  rx: string | undefined,
  tx: readonly string[] = [],
  more: Partial<JobSpec> = {},
): JobSpec => ({
  app,
  ...(rx === undefined ? {} : { rx: { port: rx } }),
  tx,
  ...more,
});

/** Everything that a run reports, in order: `worker-failed 0 WORKER_STALLED`. */
export function eventsOf(run: Run): string[] {
  const events: string[] = [];
  const note = (name: string) => (subject: unknown, error?: unknown) => {
    const code = error instanceof Error ? ` ${(error as Error & { code?: string }).code}` : '';
    events.push(`${name} ${String(subject)}${code}`);
  };
  run.on('job-failed', note('job-failed'));
  run.on('job-restarted', note('job-restarted'));
  run.on('worker-failed', note('worker-failed'));
  run.on('worker-restarted', note('worker-restarted'));
  run.on('port-error', note('port-error'));
  return events;
}

/** Resolves when `done()` holds; fails the test with `what` when it never does. */
export async function eventually(what: string, done: () => boolean, ms = 20_000): Promise<void> {
  const end = performance.now() + ms;
  while (!done()) {
    if (performance.now() > end) expect.fail(`never happened: ${what}`);
    await sleep(2);
  }
}

/** Stops the run and expects it to have lost nothing. */
export async function stopBalanced(run: Run) {
  const result = await run.stop();
  expect(result.ledger.errors).toEqual([]);
  return result;
}

/** The error with which `promise` rejects. A run that was not refused is not printed: it has the whole arena in it. */
export async function refusal(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  return expect.fail('it was not refused');
}

/** What a process has that could leak. */
export interface Belongings {
  readonly fds: number;
  readonly threads: number;
  /** Bytes of shared memory: frames and rings, a kernel's rings, registers. */
  readonly mapped: number;
}

export const threads = (): string[] => readdirSync('/proc/self/task');

/** Not the arena's reserve, which is anonymous, nor libraries. */
const SHARED = /^(\w+)-(\w+) ..\Ss \S+ \S+ \d+ +(?:\/memfd:|\/dev\/|\/sys\/|socket:|anon_inode:)/gm;

function mapped(): number {
  const lines = readFileSync('/proc/self/maps', 'latin1').matchAll(SHARED);
  return [...lines].reduce((sum, [, from, to]) => sum + Number.parseInt(to, 16) - Number.parseInt(from, 16), 0);
}

export const belongings = (): Belongings => ({
  fds: openFds().size,
  threads: threads().length,
  mapped: mapped(),
});

/** Resolves when the process has no more than `before`: the last threads may take a moment to go. */
export async function givenBack(before: Belongings, after = ''): Promise<void> {
  const more = () => {
    const now = belongings();
    return now.fds > before.fds || now.threads > before.threads || now.mapped > before.mapped;
  };
  const end = performance.now() + 8000; // less than a hook may take, so that what is left is told
  while (more() && performance.now() < end) await sleep(10);
  const now = belongings();
  expect(now.fds, `${after}: ${[...openFds().values()].join(' ')}`).toBeLessThanOrEqual(before.fds);
  expect(now.threads).toBeLessThanOrEqual(before.threads);
  expect(now.mapped).toBeLessThanOrEqual(before.mapped);
}

/** The cpus that each thread of this process may run on: `0`, `0-1`. */
export function threadCpus(): string[] {
  return threads().flatMap((tid) => {
    try {
      const status = readFileSync(`/proc/self/task/${tid}/status`, 'utf8');
      return [/^Cpus_allowed_list:\s+(.*)$/m.exec(status)?.[1] ?? ''];
    } catch {
      return []; // it has ended meanwhile
    }
  });
}
