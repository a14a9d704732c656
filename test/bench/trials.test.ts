import { expect, test } from 'vitest';
import { PIPELINES, SUBJECTS, selectTrials, TARGETS } from '../../bench/trials.ts';

test('every pipeline runs at every burst from 1 to 256 unless it says otherwise', () => {
  expect(selectTrials(['loop'], false).map((t) => t.name)).toEqual(
    [1, 4, 8, 16, 32, 64, 128, 256].map((b) => `loop/${b}`),
  );
});

test('a smoke test runs every pipeline at burst 32', () => {
  expect(selectTrials(SUBJECTS, true).map((t) => t.name)).toEqual(PIPELINES.map((p) => `${p.kind}/32`));
});

test('the small pieces are no pipelines', () => {
  expect(selectTrials(['ring', 'frames'], false)).toEqual([]);
});

test('every target is about a trial that exists', () => {
  const names = selectTrials(SUBJECTS, true).map((t) => t.name);
  for (const { trial } of TARGETS) expect(names).toContain(trial);
});

test('jobs name ports that the pipeline has', () => {
  for (const { jobs, ports } of PIPELINES) {
    for (const index of jobs.flat()) expect(ports[index]).toBeDefined();
  }
});
