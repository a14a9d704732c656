/** `linecard l2fwd` as a user runs it: captures in, captures out; signals; JSON. */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Blocks, file, frame, pcapFile } from '../fakes/capture-files.ts';
import { Command, expectSuccess, linecard, objectsOf, summaryOf, testFolder } from '../fakes/command.ts';
import { read } from '../fakes/read-capture.ts';
import { COLOUR, screenAfter, UP } from '../fakes/terminal.ts';
import { run, testWith } from '../fakes/tools.ts';

const NS = 1_000_000_000n;

/** A pcapng file of `packets`, one microsecond apart. */
function pcapng(packets: readonly Uint8Array[]): Uint8Array {
  const blocks = new Blocks(true);
  const times = [{ code: 9, value: blocks.u8(9) }]; // if_tsresol: nanoseconds
  const bodies = packets.map((data, i) => blocks.packet(0, 1_700_000_000n * NS + BigInt(i) * 1000n, data));
  return file(blocks.section(), blocks.interface(times), ...bodies);
}

const pcap = (packets: readonly Uint8Array[]): Uint8Array =>
  pcapFile(
    { little: true, nano: false },
    packets.map((data, i) => ({ seconds: 1_700_000_000, fraction: i, data })),
  );

/** Frames of all lengths that there are on an Ethernet, each with content of its own. */
const mixed = (count: number, seed: number): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => frame([60, 1514, 14, 61, 590, 1518, 64][(i + seed) % 7], i + seed));

async function packetsOf(path: string): Promise<Uint8Array[]> {
  const { packets, error } = await read(readFileSync(path), 65_536);
  expect(error).toBeUndefined();
  return packets.map(({ data }) => data);
}

/** As `toEqual`, which takes minutes for so many. */
function expectSame(actual: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  expect(actual).toHaveLength(expected.length);
  const different = expected.findIndex((packet, i) => Buffer.compare(packet, actual[i]) !== 0);
  expect(different, 'index of the first packet that is not the same').toBe(-1);
}

/** Many more than all rings together hold, so that somebody has to wait. */
const MANY = 20_000;

describe('captures', () => {
  test('come out at the other port, every packet, byte for byte, in order; and it ends by itself', async () => {
    const path = testFolder();
    const [left, right] = [mixed(MANY, 1), mixed(3000, 2)];
    writeFileSync(path('in.pcapng'), pcapng(left));
    writeFileSync(path('in2.pcap'), pcap(right));
    const ports = [
      `pcap:${path('in.pcapng')},out=${path('a.pcapng')}`,
      `pcap:${path('in2.pcap')},out=${path('b.pcapng')}`,
    ];
    const ended = await linecard(['l2fwd', '--no-mac-updating', ...ports]);
    expectSuccess(ended);
    expect(ended.stdout).toContain('all sources have ended');
    expect(ended.stdout).toContain('Dropped: nothing');
    expectSame(await packetsOf(path('a.pcapng')), right);
    expectSame(await packetsOf(path('b.pcapng')), left);
  });

  test('have the addresses of the port that they left by', async () => {
    const path = testFolder();
    writeFileSync(path('in.pcap'), pcap(mixed(100, 3)));
    const ended = await linecard(['l2fwd', '-j', `pcap:${path('in.pcap')}`, `pcap:out=${path('b.pcapng')}`]);
    expectSuccess(ended);
    const out = await packetsOf(path('b.pcapng'));
    expect(out).toHaveLength(100);
    for (const [i, packet] of out.entries()) {
      expect(packet.subarray(0, 6)).toEqual(Uint8Array.of(2, 0, 0, 0, 0, 1));
      expect(packet.subarray(6, 12)).toEqual(out[0].subarray(6, 12));
      expect(packet.subarray(12)).toEqual(mixed(100, 3)[i].subarray(12));
    }
  });

  test('are repeated as often as the port name says', async () => {
    const path = testFolder();
    writeFileSync(path('in.pcap'), pcap(mixed(50, 4)));
    const ended = await linecard(['l2fwd', '-j', `pcap:${path('in.pcap')},loops=20`, `pcap:out=${path('b.pcapng')}`]);
    expectSuccess(ended);
    expect(await packetsOf(path('b.pcapng'))).toHaveLength(1000);
  });

  test('of three ports go round in a ring, or as --portmap says', async () => {
    const path = testFolder();
    const names = ['a', 'b', 'c'];
    for (const [i, name] of names.entries()) writeFileSync(path(`${name}.pcap`), pcap(mixed(10 + i, 0)));
    const ports = names.map((name) => `pcap:${path(`${name}.pcap`)},out=${path(`${name}.pcapng`)}`);
    const counts = () => Promise.all(names.map(async (name) => (await packetsOf(path(`${name}.pcapng`))).length));
    expectSuccess(await linecard(['l2fwd', ...ports]));
    expect(await counts()).toEqual([12, 10, 11]);
    expectSuccess(await linecard(['l2fwd', '--portmap', '(0,2),(1,1)', ...ports]));
    expect(await counts()).toEqual([12, 11, 10]);
  });

  test('with packets that are no frames: each is counted by its reason, with a remedy', async () => {
    const path = testFolder();
    writeFileSync(path('in.pcap'), pcap([frame(60), frame(13), frame(4000), frame(61)]));
    const args = ['l2fwd', `pcap:${path('in.pcap')}`, `pcap:out=${path('b.pcapng')}`];
    const ended = await linecard(args);
    expectSuccess(ended);
    expect(ended.stdout).toContain('Dropped: rx_runt 1, rx_oversize 1');
    expect(ended.stdout).toContain('raise it with --mtu');
    expect((await packetsOf(path('b.pcapng'))).map(({ length }) => length)).toEqual([60, 61]);
    expectSuccess(await linecard([...args, '--mtu', '4000']));
    expect((await packetsOf(path('b.pcapng'))).map(({ length }) => length)).toEqual([60, 4000, 61]);
  });

  test('that are cut off: what was read goes through, the error has the byte offset, and it ends with 1', async () => {
    const path = testFolder();
    const whole = pcap([frame(60, 1), frame(60, 2), frame(60, 3)]);
    writeFileSync(path('in.pcap'), whole.subarray(0, whole.length - 10));
    const ended = await linecard(['l2fwd', `pcap:${path('in.pcap')}`, `pcap:out=${path('b.pcapng')}`]);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(/^linecard: capture .*in\.pcap, byte 176: .* \[CAPTURE_TRUNCATED\]\n$/);
    expect(ended.stdout).toContain('Ledger: balanced');
    expect(await packetsOf(path('b.pcapng'))).toHaveLength(2);
  });

  testWith('capinfos', 'that it wrote are accepted by capinfos and tcpdump', async () => {
    const path = testFolder();
    writeFileSync(path('in.pcapng'), pcapng(mixed(1000, 5)));
    expectSuccess(await linecard(['l2fwd', `pcap:${path('in.pcapng')}`, `pcap:out=${path('b.pcapng')}`]));
    const info = run('capinfos', '-M', '-T', '-m', '-Q', '-c', '-t', '-o', path('b.pcapng')).trim().split('\n').at(-1);
    expect(info).toMatch(/"pcapng","1000","True"$/);
    expect(run('tcpdump', '-n', '-r', path('b.pcapng'), '--count')).toContain('1000 packets');
  });
});

describe('signals', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    '%s stops in order: all that was received is in the file, and it ends with 0',
    async (signal) => {
      const path = testFolder();
      writeFileSync(path('in.pcap'), pcap(mixed(1000, 6)));
      const command = new Command([
        'l2fwd',
        '-j',
        '-T',
        '0.2',
        `pcap:${path('in.pcap')},loops=0`,
        `pcap:out=${path('b.pcapng')}`,
      ]);
      await command.says(/"type":"period"/);
      command.kill(signal);
      const ended = await command.ended;
      expectSuccess(ended);
      const { reason, ports } = summaryOf(ended);
      expect(reason).toBe('signal');
      expect(ports[0].rx.packets).toBeGreaterThan(0);
      expect(await packetsOf(path('b.pcapng'))).toHaveLength(ports[0].rx.packets);
    },
  );

  test('a second Ctrl-C ends it at once with 130, whatever it waits for', async () => {
    const path = testFolder();
    writeFileSync(path('hang.mjs'), 'export default () => () => { for (;;); };');
    const command = new Command(['l2fwd', '-T', '0.1', '--app', path('hang.mjs'), 'null:0']);
    await command.says(/port 0/);
    command.kill('SIGINT');
    // Its worker obeys no more: stopping takes a second or longer.
    await new Promise((resolve) => setTimeout(resolve, 100));
    const second = performance.now();
    command.kill('SIGINT');
    expect((await command.ended).code).toBe(130);
    expect(performance.now() - second).toBeLessThan(3000);
    expect(command.stdout).not.toContain('Summary');
  });

  test('one that comes while workers are being started ends it too, with 0', async () => {
    const path = testFolder();
    writeFileSync(
      path('slow.mjs'),
      "console.error('loading'); await new Promise((resolve) => setTimeout(resolve, 60_000));",
    );
    const command = new Command(['l2fwd', '-T', '0.1', '--app', path('slow.mjs'), 'null:0']);
    await command.says(/loading/, 'stderr');
    command.kill('SIGINT');
    expect(await command.ended).toMatchObject({ code: 0, stdout: '' });
  });
});

describe('output', () => {
  test('-j is one object per period, then the summary; all add up', async () => {
    const ended = await linecard(['l2fwd', '-j', '-T', '0.2', '--time', '1.1', 'null:0', 'null:1']);
    expectSuccess(ended);
    const objects = objectsOf(ended);
    const summary = objects.pop();
    expect(objects.length).toBeGreaterThanOrEqual(2);
    let last = 0;
    let busiest = 0; // of all periods: in one of them a worker may not have got its cpu at all
    for (const { type, seconds, interval, ports, workers } of objects) {
      expect(type).toBe('period');
      expect(seconds).toBeGreaterThan(last);
      expect(interval).toBeCloseTo(seconds - last, 1);
      last = seconds;
      expect(ports).toMatchObject([
        { index: 0, port: 'null:0', link: { status: 'up' } },
        { index: 1, port: 'null:1' },
      ]);
      for (const { pollsHit } of workers) busiest = Math.max(busiest, pollsHit);
    }
    expect(busiest).toBeGreaterThan(0);
    expect(summary).toMatchObject({ type: 'summary', reason: 'time', errors: [] });
    expect(summary.ports[0].rx.packets).toBe(summary.ports[1].tx.packets + summary.ports[1].drops.tx_full);
  });

  test('-T 0 is nothing but what becomes of addresses, and the summary', async () => {
    const ended = await linecard(['l2fwd', '-T', '0', '--time', '0.3', 'null:0']);
    expectSuccess(ended);
    expect(ended.stdout).toMatch(/^MAC addresses rewritten \(--no-mac-updating keeps them\)\n\nSummary =+\n/);
  });

  test('in a pipe is plain lines, which name the port', async () => {
    const { stdout } = await linecard(['l2fwd', '-T', '0.2', '--time', '0.5', 'null:0', 'null:1'], {
      env: { FORCE_COLOR: '1' },
    });
    expect(stdout).not.toContain('\x1b');
    expect(stdout).toMatch(/^ +0\.\d s {2}port 1 null:1 up {2}rx [\d,]+ \([\d.]+ [Mk]?pps\) {2}tx /m);
  });

  test('whose reader goes away ends it quietly and in order', async () => {
    const command = new Command(['l2fwd', '-T', '0.1', 'null:0', 'null:1']);
    await command.says(/port 0/);
    command.child.stdout?.destroy();
    expect(await command.ended).toMatchObject({ code: 0, stderr: '' });
  });

  test('that cannot be written ends it with 1', async () => {
    const { code, stderr } = await linecard(['l2fwd', '-T', '0.1', 'null:0'], { limits: 'exec >/dev/full' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^linecard: standard output: .*ENOSPC.* \[OUTPUT_FAILED\]\n$/);
  });

  testWith('script', 'on a terminal is drawn in place, in colours', async () => {
    const ended = await linecard(['l2fwd', '-T', '0.2', '--time', '0.9', 'null:0', 'null:1'], { terminal: true });
    expect(ended.code).toBe(0);
    expect(ended.stdout).toMatch(UP);
    expect(ended.stdout).toMatch(COLOUR);
    const shown = screenAfter(ended.stdout.replaceAll(COLOUR, ''));
    expect(shown.slice(0, 2)).toEqual(['MAC addresses rewritten (--no-mac-updating keeps them)', '']);
    expect(shown[2]).toMatch(/^Summary =+$/);
    expect(shown.filter((line) => line.startsWith('0 null:0'))).toHaveLength(1);
    for (const line of shown) expect(line.length).toBeLessThanOrEqual(80);
  });

  testWith('script', 'on a terminal has no colours where NO_COLOR is set, and is drawn nevertheless', async () => {
    const ended = await linecard(['l2fwd', '-T', '0.2', '--time', '0.5', 'null:0'], {
      terminal: true,
      env: { NO_COLOR: '1' },
    });
    expect(ended.code).toBe(0);
    expect(ended.stdout).toMatch(UP);
    expect(ended.stdout).not.toMatch(COLOUR);
  });
});

describe('applications', () => {
  const APP = `
    export const pass = ({ rx, tx: [out], frames, burst: size, options, counter }) => {
      const burst = frames.burst(size);
      const seen = counter(options.name);
      return () => {
        const n = rx.receive(burst);
        const sent = out.transmit(burst, 0, n);
        frames.drop(burst, sent, n, 1);
        seen(n);
        return n;
      };
    };
    export const boom = ({ rx, frames, burst: size }) => {
      const burst = frames.burst(size);
      let calls = 0;
      return () => {
        const n = rx.receive(burst);
        if (++calls === 1000) throw new Error('it went boom');
        frames.free(burst, 0, n);
        return n;
      };
    };
  `;

  test('of one’s own run on every rx queue, with their options and counters', async () => {
    const path = testFolder();
    writeFileSync(path('app.mjs'), APP);
    const args = [
      'l2fwd',
      '-j',
      '-q',
      '2',
      '--time',
      '0.5',
      '--app',
      './app.mjs#pass',
      '--app-options',
      '{"name":"seen"}',
      'null:0',
      'null:1',
    ];
    const ended = await linecard(args, { cwd: path('.') });
    expectSuccess(ended);
    const { jobs } = summaryOf(ended);
    expect(jobs).toHaveLength(4);
    for (const { app, counters } of jobs) {
      expect(app).toBe('./app.mjs#pass');
      expect(counters.seen).toBeGreaterThan(0);
    }
  });

  test('that throw are told, started again, and their packets are accounted for; it ends with 1', async () => {
    const path = testFolder();
    writeFileSync(path('app.mjs'), APP);
    const ended = await linecard(['l2fwd', '-T', '0.2', '--time', '1', '--app', path('app.mjs#boom'), 'null:0']);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(
      /^linecard: application .*app\.mjs#boom.*: it went boom; .* \[APP_THREW\]\nlinecard: job 0 is started again in /,
    );
    expect(ended.stderr).toContain('linecard: job 0 runs again\n');
    expect(ended.stdout).toContain('Ledger: balanced');
    expect(ended.stdout).toMatch(/app\.mjs#boom: failures \d/);
  });
});
