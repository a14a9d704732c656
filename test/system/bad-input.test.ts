/** What a user can get wrong: each ends with an error that names cause and remedy, and with everything given back. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { describe, expect, test } from 'vitest';
import { frame, pcapFile } from '../fakes/capture-files.ts';
import { Command, expectSuccess, linecard, summaryOf, testFolder } from '../fakes/command.ts';
import { read } from '../fakes/read-capture.ts';
import { mayMount, run } from '../fakes/tools.ts';

const pcap = (count: number, length = 1000): Uint8Array =>
  pcapFile(
    { little: true, nano: false },
    Array.from({ length: count }, (_, i) => ({ seconds: 0, fraction: i, data: frame(length, i) })),
  );

/** A folder with `in.pcap` in it. */
function withCapture(): (name: string) => string {
  const path = testFolder();
  writeFileSync(path('in.pcap'), pcap(10));
  return path;
}

/** Code, exit code, what the one line says, and the arguments. The process ends by itself: nothing of it is left. */
const CASES: readonly (readonly [code: string, exit: number, text: RegExp, ...args: string[]])[] = [
  ['NO_SUCH_PORT', 2, /port nul:0: .*; did you mean null:0\? names are null:NAME/, 'l2fwd', 'nul:0'],
  ['NO_SUCH_PORT', 2, /did you mean pcap:in\.pcap\?/, 'l2fwd', 'in.pcap'],
  ['BAD_PORT_NAME', 2, /"null:0,sise=60".*no option "sise=60"; options are size/, 'l2fwd', 'null:0,sise=60'],
  ['BAD_PORT_NAME', 2, /size=13 is not a whole number from 14/, 'l2fwd', 'null:0,size=13'],
  [
    'BAD_FRAME_SIZE',
    2,
    /port null:0: size=1519 .*; give a size up to 1518, or .*--mtu 1501\)/,
    'l2fwd',
    'null:0,size=1519',
  ],
  ['BAD_PORT_NAME', 2, /write pair:NAME\/0 or pair:NAME\/1/, 'l2fwd', 'pair:x/2'],
  ['USAGE', 2, /port null:0: it is named twice/, 'l2fwd', 'null:0', 'null:0'],
  ['PORT_TAKEN', 1, /port null:0,size=99: it is another name of a port/, 'l2fwd', 'null:0', 'null:0,size=99'],
  ['BAD_SETTING', 1, /option -q: 9 is not a whole number from 1 to 8/, 'l2fwd', 'null:0', '-q', '9'],
  ['UNSUPPORTED_SETTING', 1, /option -q: this port cannot change it/, 'l2fwd', 'pcap:in.pcap', '-q', '2'],
  ['BAD_SETTING', 1, /option --mtu: 70000 is not a whole number from 68 to 65000/, 'l2fwd', 'null:0', '--mtu', '70000'],
  ['BAD_SETTING', 1, /option --txd: 1000 is not a power of two/, 'l2fwd', 'null:0', '--txd', '1000'],
  [
    'BAD_FRAME_SIZE',
    2,
    /frames of 1515 bytes: port null:0 has an MTU of 1500.*from 60 to 1514/,
    'gen',
    'null:0',
    '--size',
    '1515',
  ],
  ['BAD_FRAME_SIZE', 2, /frames of 13 bytes: .*from 60 to 1514/, 'gen', 'null:0', '--size', '13'],
  ['BAD_APP_OPTION', 2, /option --flows of gen: 0 is not/, 'gen', 'null:0', '--flows', '0'],
  ['BAD_MAC', 2, /MAC address "zz"/, 'gen', 'null:0', '--destination', 'zz'],
  ['BAD_OPTION', 2, /option --burst: 513 is not a whole number from 1 to 512/, 'l2fwd', 'null:0', '--burst', '513'],
  ['NO_SUCH_CPU', 1, /cpu 4095: this machine has /, 'l2fwd', 'null:0', '--cpus', '4095'],
  ['CPU_TAKEN', 1, /cpu 0: it is named twice/, 'plan', 'null:0', '--cpus', '0,0'],
  ['BAD_FRAME_POOL', 2, /frame size 1000/, 'l2fwd', 'null:0', '--frame-size', '1000'],
  [
    'ARENA_FULL',
    1,
    /4096000000 bytes.*ask for fewer or smaller frames \(--frames, --frame-size\)/,
    'l2fwd',
    'null:0',
    '--frames',
    '2000000',
  ],
  [
    'APP_MODULE_MISSING',
    1,
    /application \.\/nix\.mjs: there is no file .*nix\.mjs; check the path/,
    'l2fwd',
    'null:0',
    '--app',
    './nix.mjs',
  ],
  ['APP_MODULE_MISSING', 1, /no such package/, 'l2fwd', 'null:0', '--app', 'no-such-package'],
  ['APP_EXPORT_MISSING', 1, /exports other, no function "fw"; /, 'l2fwd', 'null:0', '--app', './app.mjs#fw'],
  ['APP_EXPORT_MISSING', 1, /no function "other"/, 'l2fwd', 'null:0', '--app', './app.mjs#other'],
  [
    'CAPTURE_NOT_FOUND',
    1,
    /capture nix\.pcap cannot be opened: there is no such file.*; check the path/,
    'l2fwd',
    'pcap:nix.pcap',
  ],
  ['CAPTURE_NOT_FOUND', 1, /capture nix\/out\.pcapng/, 'l2fwd', 'pcap:in.pcap,out=nix/out.pcapng'],
  ['CAPTURE_NOT_A_FILE', 1, /it is a folder/, 'l2fwd', 'pcap:folder'],
  ['CAPTURE_BAD_MAGIC', 1, /byte 0: .*neither pcap nor pcapng/, 'l2fwd', 'pcap:app.mjs'],
  [
    'CAPTURE_DISK_FULL',
    1,
    /\/dev\/full cannot be written: no space is left.*; free some/,
    'l2fwd',
    'pcap:in.pcap,out=/dev/full',
  ],
  ['PORT_SAME_FILE', 1, /in and out are the same file/, 'l2fwd', 'pcap:in.pcap,out=in.pcap'],
  ['PORT_BUSY', 1, /another port or engine is writing/, 'l2fwd', 'pcap:in.pcap,out=a.pcapng', 'pcap:out=a.pcapng'],
];

describe('an error names cause and remedy, and the process ends by itself', () => {
  const cases = CASES.map(([code, exit, text, ...args]) => ({ code, exit, text, args, line: args.join(' ') }));

  test.each(cases)('linecard $line: $code', async ({ code, exit, text, args }) => {
    const path = withCapture();
    mkdirSync(path('folder'));
    writeFileSync(path('app.mjs'), 'export const other = 1;');
    // Two at a time: most of it is the start of Node.
    const [plain, json] = await Promise.all([args, [...args, '-j']].map((all) => linecard(all, { cwd: path('.') })));
    expect(plain.stderr).toMatch(text);
    expect(plain.stderr).toMatch(new RegExp(`^linecard: [^\\n]+: [^\\n]+; [^\\n]+ \\[${code}\\]\\n$`));
    expect(plain).toMatchObject({ code: exit, signal: null, stdout: '' });
    expect(JSON.parse(json.stdout)).toMatchObject({ error: { code, message: expect.stringMatching(text) } });
    expect(json).toMatchObject({ code: exit, stderr: '' });
  });

  const one = cpus().length < 2;
  test.skipIf(one)(
    `CPU_NOT_ALLOWED: a cpu that this process may not use${one ? ' (skipped: there is only one)' : ''}`,
    async () => {
      const { code, stderr } = await linecard(['l2fwd', 'null:0', '--cpus', '1'], { through: ['taskset', '-c', '0'] });
      expect(stderr).toMatch(/^linecard: cpu 1: this process may use 0 .*; .*taskset.* \[CPU_NOT_ALLOWED\]\n$/);
      expect(code).toBe(1);
    },
  );

  test('NO_ADDRESS_SPACE: a limit that the arena does not fit into', async () => {
    const { code, stderr } = await linecard(['l2fwd', 'null:0'], { limits: 'ulimit -v 6000000' });
    expect(stderr).toMatch(/^linecard: arena of 4294967296 bytes: .*; raise "ulimit -v".* \[NO_ADDRESS_SPACE\]\n$/);
    expect(code).toBe(1);
  });

  test('FILE_SIZE_LIMIT: memory is a file in memory, and files may not be so large', async () => {
    const { code, stderr } = await linecard(['l2fwd', 'null:0'], { limits: 'ulimit -f 1000' });
    expect(stderr).toMatch(
      /^linecard: 33554432 bytes .*limit.*; raise it: ulimit -f unlimited.* \[FILE_SIZE_LIMIT\]\n$/,
    );
    expect(code).toBe(1);
  });

  test.skipIf(process.getuid?.() === 0)('CAPTURE_DENIED: files that this user may not read or write', async () => {
    const path = testFolder();
    writeFileSync(path('secret.pcap'), pcap(1), { mode: 0o000 });
    expect((await linecard(['l2fwd', `pcap:${path('secret.pcap')}`])).stderr).toMatch(/chmod.* \[CAPTURE_DENIED\]\n$/);
    expect((await linecard(['l2fwd', `pcap:out=${path('secret.pcap')}`])).stderr).toMatch(/\[CAPTURE_DENIED\]\n$/);
  });

  test('LINECARD_DEBUG=stack shows where it came from', async () => {
    const { stderr } = await linecard(['l2fwd', 'nul:0'], { env: { LINECARD_DEBUG: 'stack' } });
    expect(stderr).toMatch(/\[NO_SUCH_PORT\]\n.*\n +at /);
  });
});

describe('nothing is touched by a command that cannot run', () => {
  test('an output file keeps its content when another port is wrong', async () => {
    const path = withCapture();
    writeFileSync(path('out.pcapng'), 'precious');
    const { code } = await linecard(['l2fwd', `pcap:${path('in.pcap')},out=${path('out.pcapng')}`, 'nul:0']);
    expect(code).toBe(2);
    expect(readFileSync(path('out.pcapng'), 'utf8')).toBe('precious');
  });

  test('plan and status write no file', async () => {
    const path = withCapture();
    const port = `pcap:${path('in.pcap')},out=${path('out.pcapng')}`;
    expect((await linecard(['plan', port])).code).toBe(0);
    expect((await linecard(['status', port])).code).toBe(0);
    expect(existsSync(path('out.pcapng'))).toBe(false);
  });
});

test('two commands that write one file: the second is PORT_BUSY, the first goes on', async () => {
  const path = withCapture();
  const port = `pcap:${path('in.pcap')},loops=0,out=${path('out.pcapng')}`;
  const first = new Command(['l2fwd', '-j', '-T', '0.2', port]);
  await first.says(/"type":"period"/);
  const second = await linecard(['l2fwd', port]);
  expect(second.stderr).toMatch(
    /^linecard: port pcap:.*: another port or engine is writing.*; name another file, or stop the other one \[PORT_BUSY\]\n$/,
  );
  expect(second.code).toBe(1);
  first.kill('SIGTERM');
  const ended = await first.ended;
  expectSuccess(ended);
  const { packets, error } = await read(readFileSync(path('out.pcapng')), 65_536);
  expect(error).toBeUndefined();
  expect(packets).toHaveLength(summaryOf(ended).ports[0].tx.packets);
});

describe('a disk that fills up under a capture', () => {
  /** What such a command says and leaves behind, wherever the room ended. */
  async function expectFull(ended: Awaited<ReturnType<typeof linecard>>, file: string, remedy: RegExp): Promise<void> {
    expect(ended.code).toBe(1);
    const { reason, ledger, errors, ports } = summaryOf(ended);
    expect(reason).toBe('port-failed');
    expect(ledger).toMatchObject({ balanced: true, errors: [] });
    expect(errors).toMatchObject([{ code: 'CAPTURE_DISK_FULL', message: expect.stringMatching(remedy) }]);
    const { packets, error } = await read(readFileSync(file), 65_536);
    expect(error, 'the file ends with a whole packet').toBeUndefined();
    expect(packets.length).toBeGreaterThan(0);
    const { packets: accepted } = ports[1].tx;
    const { tx_io_error: failed, tx_stopped: stopped } = ports[1].drops;
    expect(packets, 'every packet that was accepted is in the file or counted').toHaveLength(
      accepted - failed - stopped,
    );
  }

  test('by a size limit: it ends in order, tells the remedy, and every packet is accounted for', async () => {
    const path = withCapture();
    const args = [
      'l2fwd',
      '-j',
      '--frames',
      '512',
      '--frame-size',
      '2048',
      `pcap:${path('in.pcap')},loops=0`,
      `pcap:out=${path('out.pcapng')}`,
    ];
    // 512 blocks of 512 bytes and more for the engine's own memory, which is files too.
    const ended = await linecard(args, { limits: 'ulimit -f 8192' });
    await expectFull(ended, path('out.pcapng'), /ulimit -f/);
  });

  const reason = mayMount() ? '' : ' (skipped: needs root to mount a tmpfs)';
  test.skipIf(reason !== '')(
    `by a file system: it ends in order, tells the remedy, and every packet is accounted for${reason}`,
    async () => {
      const path = withCapture();
      mkdirSync(path('small'));
      run('mount', '-t', 'tmpfs', '-o', 'size=1m', 'linecard-test', path('small'));
      try {
        const ended = await linecard([
          'l2fwd',
          '-j',
          `pcap:${path('in.pcap')},loops=0`,
          `pcap:out=${path('small/out.pcapng')}`,
        ]);
        await expectFull(ended, path('small/out.pcapng'), /free some/);
      } finally {
        run('umount', path('small'));
      }
    },
  );
});
