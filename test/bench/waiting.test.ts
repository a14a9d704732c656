import { expect, test } from 'vitest';
import { disturbed, mpps } from '../../bench/contestant.ts';
import { threadPinnedTo } from '../../bench/waiting.ts';

const files: Record<string, string> = {
  '/proc/7/task/7/status': 'Name:\tmain\nCpus_allowed_list:\t0-1\n',
  '/proc/7/task/8/status': 'Name:\tloop\nCpus_allowed_list:\t1\n',
  '/proc/7/task/8/schedstat': '172434073 3287277 17\n',
};
const read = (path: string) => files[path] ?? '';

test('the thread that is pinned to the loop’s cpu is found, and its time in the run queue read', () => {
  expect(threadPinnedTo(7, 1, read, () => ['7', '8'])!.waited()).toBe(3287277);
});

test('where several threads are pinned to one cpu, or none is, nothing is known', () => {
  expect(threadPinnedTo(7, 2, read, () => ['7', '8'])).toBeUndefined();
  expect(threadPinnedTo(7, 1, read, () => ['8', '8'])).toBeUndefined();
});

test('a kernel without the statistics has nothing to subtract', () => {
  expect(
    threadPinnedTo(
      7,
      1,
      (path) => (path.endsWith('stat') ? '' : read(path)),
      () => ['8'],
    )!.waited(),
  ).toBe(0);
});

test('waiting is taken out of the time of a sample', () => {
  expect(mpps({ packets: 100, ns: 2000, waitedNs: 1000 })).toBe(100);
  expect(mpps({ packets: 100, ns: 2000 })).toBe(50);
});

test('a sample of which more than half was waiting is disturbed, and stands for itself', () => {
  expect(disturbed({ packets: 1, ns: 100, waitedNs: 51 })).toBe(true);
  expect(disturbed({ packets: 1, ns: 100, waitedNs: 50 })).toBe(false);
  expect(disturbed({ packets: 1, ns: 100 })).toBe(false);
  expect(mpps({ packets: 100, ns: 2000, waitedNs: 3000 })).toBe(50);
});
