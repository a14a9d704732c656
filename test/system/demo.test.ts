/** `linecard demo`, which is `npm start`, as a user runs it. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Command, expectSuccess, linecard, objectsOf, summaryOf } from '../fakes/command.ts';

test('shows itself, its statistics, and a summary in which every packet is accounted for', async () => {
  const ended = await linecard(['demo', '--time', '2.5']);
  expectSuccess(ended);
  const lines = ended.stdout.split('\n');
  expect(lines[0]).toMatch(/^l2fwd drives two virtio-net devices/);
  for (const line of lines.slice(0, 4)) expect(line.length).toBeLessThan(80);
  expect(ended.stdout).toMatch(/^ +1\.\d s {2}port 2 virtio-user:\S+\/left up /m);
  expect(ended.stdout).toMatch(/^Worker 0 on cpu \d+: \d+\.\d\d Mpps \([\d,]+ packets\), polls hit \d+ %$/m);
  expect(ended.stdout).toMatch(/^Dropped: /m);
  expect(lines.at(-2)).toBe('every packet is accounted for');
});

test('as JSON: what was sent was received, intact and in order, or dropped and counted', async () => {
  const ended = await linecard(['demo', '-j', '--time', '1.5', '-T', '0.5', '--flows', '16', '--size', '512']);
  expectSuccess(ended);
  expect(objectsOf(ended).length).toBeGreaterThanOrEqual(2);
  const { verdict, drops, ports } = summaryOf(ended);
  expect(verdict).toMatchObject({ ok: true, counters: { corrupt: 0, foreign: 0, duplicate: 0, late: 0 } });
  const { sent, received, dropped } = verdict.counters;
  expect(sent).toBeGreaterThan(0);
  expect(sent).toBe(received + dropped);
  // What the generator had made and not sent when it was stopped was dropped too, but never under way.
  const all = Object.values<number>(drops).reduce((sum, n) => sum + n, 0);
  expect(dropped).toBeLessThanOrEqual(all);
  expect(dropped).toBeGreaterThanOrEqual(all - drops.stopped);
  // 512 bytes each, both ways.
  for (const { rx } of ports) expect(rx.bytes).toBe(rx.packets * 512);
});

test('at a rate, loses nothing; and ends by itself after --count packets', async () => {
  const ended = await linecard(['demo', '-j', '--rate', '20k', '--count', '10k', '--time', '0']);
  expectSuccess(ended);
  expect(summaryOf(ended)).toMatchObject({ reason: 'sources', verdict: { counters: { sent: 10_000 } } });
});

test.each(['busy', 'adaptive', 'interrupt'])('runs in mode %s', async (mode) => {
  const ended = await linecard(['demo', '-j', '--time', '0.7', '--mode', mode]);
  expectSuccess(ended);
  expect(summaryOf(ended).verdict.counters.received).toBeGreaterThan(0);
});

test('ends at Ctrl-C with the summary', async () => {
  const command = new Command(['demo', '-T', '0.2']);
  await command.says(/port 3/);
  command.kill('SIGINT');
  const ended = await command.ended;
  expectSuccess(ended);
  expect(ended.stdout).toContain('packets handled in');
  expect(ended.stdout).toContain('every packet is accounted for');
});

test('runs on one cpu, if there is no other', async () => {
  const ended = await linecard(['demo', '-j', '--time', '1', '--cpus', '0']);
  expectSuccess(ended);
  expect(summaryOf(ended).workers).toHaveLength(1);
});

test('npm start is this command', () => {
  const { scripts, bin } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  expect(scripts.start).toBe(`node ${bin.linecard} demo`);
});
