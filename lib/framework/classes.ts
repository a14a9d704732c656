/** Starts and stops enumerator classes, and gives each the host through which it adds and removes enumerators. */
import type { Core } from './core.ts';
import { closed, removeEnumerator, startEnumerator, stopEnumerator } from './enumerators.ts';
import { type ClassRecord, type ClassRun, sourceOf } from './records.ts';
import type { ClassHost } from './types.ts';

/** Starts a class, then the enumerators that its start has added. If the start fails, they are withdrawn unstarted. */
export async function startClass(core: Core, record: ClassRecord): Promise<void> {
  if (!core.running || record.run !== undefined || record.leaving !== undefined) return;
  const source = sourceOf.class(record);
  const { object } = record;
  const run: ClassRun = { enumerators: new Map(), state: 'starting' };
  record.run = run;
  try {
    await core.call(
      source,
      'start',
      () => object.start(classHost(core, record, run)),
      (result) =>
        core.releaseLate(source, result, 'stop', () => (record.run === undefined ? object.stop?.() : undefined)),
    );
  } catch (error) {
    core.events.error(source, error);
    run.state = 'stopped';
    record.run = undefined;
    return;
  }
  run.state = 'running';
  for (const enumerator of [...run.enumerators.values()]) await startEnumerator(core, enumerator);
}

/** Stops a class that runs: its enumerators first. */
export async function stopClass(core: Core, record: ClassRecord): Promise<void> {
  const { run, object } = record;
  if (run === undefined) return;
  run.state = 'stopping';
  for (const enumerator of [...run.enumerators.values()].reverse()) await stopEnumerator(core, enumerator);
  await core.attempt(sourceOf.class(record), 'stop', () => object.stop?.());
  run.state = 'stopped';
  record.run = undefined;
}

function classHost(core: Core, record: ClassRecord, run: ClassRun): ClassHost {
  const source = sourceOf.class(record);
  return {
    addEnumerator: (enumerator) => {
      if (run.state === 'stopping') return;
      if (run.state === 'stopped') return core.events.error(source, closed(source, `enumerator ${enumerator.name}`));
      const added = core.registry.addEnumerator(enumerator, record, run);
      if (run.state === 'running') core.later(source, () => startEnumerator(core, added));
    },
    removeEnumerator: (name) => {
      const enumerator = run.enumerators.get(name);
      return enumerator === undefined ? Promise.resolve() : removeEnumerator(core, enumerator);
    },
  };
}
