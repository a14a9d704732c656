import { describe, expect, test } from 'vitest';
import { figures } from '../../lib/cli/figures.ts';
import { figuresJson } from '../../lib/cli/period.ts';
import { applicationLines, logLines, screen } from '../../lib/cli/screen.ts';
import { JOBS, stats } from '../fakes/run-stats.ts';

const NAMES = ['a', 'b'];
const up = { status: 'up', speed: 0, duplex: 'full', autoneg: false, media: 'memory' } as const;
const look = (moment: Parameters<typeof stats>[0]) =>
  figures({ ports: NAMES, jobs: JOBS }, stats(moment), stats({ seconds: 0 }), () => ({ link: () => up }));

describe('the screen', () => {
  const busy = look({
    a: { rx: { packets: 14_880_952n, bytes: 1n } },
    b: { tx: { packets: 14_880_000n, completed: 14_880_000n } },
    frames: { dropped_tx_full: 952n },
    worker: { polls: 100n, idlePolls: 3n },
    packets: 14_880_952n,
  });

  test('has a line per port, its drops by reason, and the sum', () => {
    expect(screen(busy).slice(1, 6)).toEqual([
      'Port               Link     Rx packets      Rx rate     Tx packets      Tx rate',
      '0 a                up       14,880,952   14.88 Mpps              0        0 pps',
      '1 b                up                0        0 pps     14,880,000   14.88 Mpps',
      '    dropped: tx_full 952 (952 pps)',
      'Total                       14,880,952   14.88 Mpps     14,880,000   14.88 Mpps',
    ]);
  });

  test('has a line per worker', () => {
    expect(screen(busy).slice(8)).toEqual([
      '#  Cpu  State     Polls hit        Packets         Rate  Sleeps/s  Jobs',
      '0    2  live           97 %     14,880,952   14.88 Mpps         0  l2fwd',
      '1    3  asleep          0 %              0        0 pps         0  l2fwd',
    ]);
  });

  test('fits into 80 columns, whatever the numbers and names', () => {
    const long = ['pcap:/a/very/long/path/to/in.pcapng,out=/a/very/long/path/to/out.pcapng', 'b'];
    const most = { packets: 10n ** 14n - 1n, bytes: 2n ** 50n };
    const now = stats({ seconds: 101_000, packets: 10n ** 14n - 1n });
    const ports = { [long[0]]: { rx: most, tx: { ...most, completed: most.packets } }, b: now.ports.b };
    const shown = figures({ ports: long, jobs: JOBS }, { ...now, ports }, undefined, () => ({ link: () => up }));
    for (const line of screen(shown)) expect(line.length).toBeLessThan(80);
  });

  test.each([
    ['the kernel', 'xdp:a', 'kernel'],
    ['a device', 'virtio-user:a', 'device'],
  ])('what %s has counted is below the port, as it calls it', (_who, name, heading) => {
    const extra = { extraStats: () => ({ rx_dropped: 304n, rx_ring_full: 0n, tx_ring_empty_descs: 9n }) };
    const now = stats({});
    const shown = figures(
      { ports: [name], jobs: JOBS },
      { ...now, ports: { [name]: now.ports.a } },
      undefined,
      () => extra,
    );
    expect(screen(shown)[3]).toBe(`    ${heading}: rx_dropped 304`);
    expect(logLines(shown)[0]).toMatch(new RegExp(`dropped 0 {2}${heading} rx_dropped 304$`));
    expect(figuresJson(shown)).toMatchObject({ ports: [{ [heading]: { rx_dropped: 304n } }] });
  });

  test('one port has no sum', () => {
    const lines = screen(figures({ ports: ['a'], jobs: JOBS }, stats({})));
    expect(lines.filter((line) => line.startsWith('Total'))).toEqual([]);
  });

  test('ports that are stopped have no column for their links', () => {
    expect(screen(figures({ ports: NAMES, jobs: JOBS }, stats({})))[1]).not.toContain('Link');
  });
});

describe('what applications count', () => {
  const job = { job: 0, label: 'gen', state: 'running', failures: 0, counters: { sent: 5n, missed: 0n } };

  test('is added up over the jobs of an application, zeros left out', () => {
    expect(applicationLines([job, { ...job, job: 1 }])).toEqual(['', 'gen: sent 10']);
  });

  test('failures and those that are down show', () => {
    expect(applicationLines([job, { ...job, job: 1, failures: 2, state: 'down' }])[1]).toBe(
      'gen: sent 10, failures 2, down',
    );
  });

  test('nothing counted is no line', () => {
    expect(applicationLines([{ ...job, counters: {} }])).toEqual([]);
  });
});

describe('the log', () => {
  test('has a line per port and per worker, each with the time and the name', () => {
    const lines = logLines(
      look({
        a: { rx: { packets: 2000n } },
        frames: { dropped_tx_full: 5n },
        worker: { polls: 10n, sleeps: 7n },
        packets: 2000n,
      }),
    );
    expect(lines).toEqual([
      '   1.0 s  port 0 a up  rx 2,000 (2.0 kpps)  tx 0 (0 pps)  dropped 0',
      '   1.0 s  port 1 b up  rx 0 (0 pps)  tx 0 (0 pps)  dropped 5: tx_full 5',
      '   1.0 s  worker 0 cpu 2 live  polls hit 100 %  2,000 (2.0 kpps)  7 sleeps/s  l2fwd',
      '   1.0 s  worker 1 cpu 3 asleep  polls hit 0 %  0 (0 pps)  l2fwd',
    ]);
  });
});
