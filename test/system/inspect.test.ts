/** `linecard plan`, `status` and `doctor` as a user runs them. */
import { writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { frame, pcapFile } from '../fakes/capture-files.ts';
import { linecard, testFolder } from '../fakes/command.ts';

describe('plan', () => {
  test('says where each queue would be handled, and on which cpu', async () => {
    const { code, stdout } = await linecard(['plan', '-q', '2', '--cpus', '0', 'null:a', 'null:b']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ +0 +0 {2}null:a queue 1 {2}l2fwd {2}null:b queue 0$/m);
    expect(stdout.split('\n').filter((line) => line.includes('l2fwd'))).toHaveLength(4);
  });

  test('as JSON names every job once', async () => {
    const { stdout } = await linecard(['plan', '-j', 'null:a', 'null:b', 'null:c']);
    const { workers } = JSON.parse(stdout);
    const jobs = workers.flatMap((worker: { jobs: { job: number }[] }) => worker.jobs.map(({ job }) => job));
    expect(jobs.sort()).toEqual([0, 1, 2]);
  });
});

describe('status', () => {
  test('lists what there is, with versions', async () => {
    const { code, stdout } = await linecard(['status']);
    expect(code).toBe(0);
    for (const driver of ['null', 'loop', 'pair', 'pcap'])
      expect(stdout).toMatch(new RegExp(`^  ${driver} +\\d+\\.\\d+\\.\\d+ `, 'm'));
    expect(stdout).toMatch(/^ {2}memory\/memory +1\.0\.0 +memory v1\n {4}null:NAME/m);
  });

  test('says what a port is bound to, and through what', async () => {
    const { code, stdout } = await linecard(['status', 'pair:x/0']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ {2}memory\/memory\/pair:x\/0 +bound +pair +devio-memory v1$/m);
    expect(stdout).toMatch(/pair:x\/0 is bound to pair \d+\.\d+\.\d+ through devio-memory v1 \(arena\)/);
  });

  test('says why not, for each port that was asked for, and ends with 1', async () => {
    const path = testFolder();
    writeFileSync(
      path('broken.pcap'),
      pcapFile({ little: true, nano: false, linkType: 113 }, [{ seconds: 0, fraction: 0, data: frame(60) }]),
    );
    const ports = ['null:0', `pcap:${path('broken.pcap')}`, 'nul:1', 'null:2,x=1'];
    const { code, stdout } = await linecard(['status', '-j', ...ports]);
    const { ports: asked, devices } = JSON.parse(stdout);
    expect(code).toBe(1);
    expect(asked.map(({ port, error }: { port: string; error?: { code: string } }) => [port, error?.code])).toEqual([
      ['null:0', undefined],
      [ports[1], 'CAPTURE_LINKTYPE'],
      ['nul:1', 'NO_SUCH_PORT'],
      ['null:2,x=1', 'BAD_PORT_NAME'],
    ]);
    const broken = devices.find(({ id }: { id: string }) => id.includes('broken.pcap'));
    const attempt = broken.attempts.find(({ stage }: { stage: string }) => stage === 'probe');
    expect(attempt).toMatchObject({
      driver: 'pcap',
      reason: expect.stringContaining('link type 113'),
    });
  });
});

describe('doctor', () => {
  test('finds that linecard works where its tests run', async () => {
    const { code, stdout, stderr } = await linecard(['doctor']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain(`✓ Node.js ${process.versions.node}`);
    expect(stdout).toContain('✓ native addon loaded');
    expect(stdout).toMatch(/^linecard works here; /m);
    expect(stdout).not.toContain('✗');
  });

  test('has a command for everything that is missing, in JSON too', async () => {
    const { ok, checks } = JSON.parse((await linecard(['doctor', '--json'])).stdout);
    expect(ok).toBe(true);
    expect(checks.length).toBeGreaterThan(15);
    for (const check of checks) expect(typeof check.fix).toBe(check.ok ? 'undefined' : 'string');
  });
});
