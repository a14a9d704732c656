import { describe, expect, it } from 'vitest';
import { checkApp, checkJobs } from '../../lib/engine/specs.ts';
import type { AppSpec, JobSpec } from '../../lib/engine/types.ts';
import { PlanError } from '../../lib/errors.ts';

const app = { module: 'l2fwd' };

function refusal(action: () => void): string {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(PlanError);
    expect(error).toMatchObject({ code: 'BAD_JOB' });
    return (error as PlanError).message;
  }
  throw new Error('it was accepted');
}

describe('jobs', () => {
  it('may have everything that a job can have', () => {
    const full = {
      app: { ...app, export: 'x', options: {} },
      rx: { port: 'a', queue: 0 },
      tx: ['b'],
      group: 'g',
      cpu: 1,
    };
    expect(() => checkJobs([full, { app: { module: new URL('file:///app.mjs') }, tx: ['b'] }])).not.toThrow();
  });

  it.each([
    [{ app, rxs: {} }, 'job 0: job has no setting "rxs"; it has app, rx, tx, group, cpu'],
    [{ app: { ...app, option: {} } }, 'app has no setting "option"'],
    [{ app, rx: { port: 'a', qeue: 1 } }, 'rx has no setting "qeue"'],
    [{ app, rx: 'a' }, 'rx is no object'],
    [{ app, rx: {} }, 'rx.port is no string'],
    [{ app, tx: 'b' }, 'tx is no list of port names'],
    [{ app, tx: [1] }, 'tx is no list of port names'],
    [{ app, group: 1 }, 'group is no string'],
    [{ app, cpu: '1' }, 'cpu is no number'],
    [{}, 'app is missing'],
    [{ app: 'l2fwd' }, 'app is no object'],
    [{ app: {} }, 'app.module is no string'],
    [{ app: { ...app, export: 1 } }, 'app.export is no string'],
    [{ app: { ...app, options: [] } }, 'app.options is no object'],
    [null, 'job is no object'],
    [[], 'job is no object'],
  ])('are refused: %j', (job, why) => {
    expect(refusal(() => checkJobs([job as unknown as JobSpec]))).toContain(why);
  });

  it('are named by their number', () => {
    expect(refusal(() => checkJobs([{ app }, { app, x: 1 } as JobSpec]))).toMatch(/^job 1: /);
  });

  it('are a list', () => {
    expect(refusal(() => checkJobs({ app } as unknown as JobSpec[]))).toContain('they are no list');
  });
});

it('an application alone is checked the same way', () => {
  expect(() => checkApp(app)).not.toThrow();
  expect(refusal(() => checkApp({ modul: 'l2fwd' } as unknown as AppSpec))).toContain('app has no setting "modul"');
});
