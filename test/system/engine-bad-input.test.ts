/** As `bad-input.test.ts`, of a program that goes on: it has back what it had before, threads, fds and memory. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import type { Engine, EngineOptions, JobSpec, PortConfig } from 'linecard';
import { openEngine } from 'linecard';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { frame, pcapFile } from '../fakes/capture-files.ts';
import { testFolder } from '../fakes/command.ts';
import {
  type Belongings,
  belongings,
  consume,
  engineWith,
  eventually,
  fake,
  forward,
  givenBack,
  job,
  refusal,
  stopBalanced,
} from '../fakes/linecard.ts';
import { read } from '../fakes/read-capture.ts';
import { mayMount, run } from '../fakes/tools.ts';

const warm = openEngine({ frames: 16 }); // what is loaded once stays
let before: Belongings;
beforeEach(async () => {
  await (await warm).close();
  await stat('.'); // libuv starts its threads, which stay, when something is first asked of them
  before = belongings();
});
afterEach(() => givenBack(before));

/** Runs `action` with an engine that is closed again: whatever it refuses must leave nothing behind. */
async function withEngine(
  ports: readonly string[],
  action: (engine: Engine) => Promise<void>,
  options: EngineOptions = {},
) {
  const engine = await openEngine({ frames: 1024, ...options });
  try {
    for (const port of ports) await engine.open(port);
    const { used } = engine.arena;
    await action(engine);
    expect(engine.arena.used).toEqual(used);
  } finally {
    await engine.close();
  }
}

describe('an engine is refused', () => {
  it.each<[object, string, RegExp]>([
    [{ frame: 16 }, 'BAD_OPTION', /engine option frame: there is no such option; options are frames,/],
    [{ mode: 'fast' }, 'BAD_OPTION', /there is no mode "fast"; use busy, adaptive, interrupt/],
    [{ frameSize: 1000 }, 'BAD_FRAME_POOL', /power of two/],
    [{ frames: 0 }, 'BAD_FRAME_POOL', /0 frames/],
    [{ headroom: 2048 }, 'BAD_FRAME_POOL', /headroom 2048/],
    [{ hugepages: 'yes' }, 'BAD_FRAME_POOL', /hugepages/],
    [{ arenaBytes: 1000 }, 'BAD_ARENA_SIZE', /multiple of 65536/],
    [{ arenaBytes: 2 ** 33 }, 'BAD_ARENA_SIZE', /4294967296/],
    [{ arenaBytes: 1 << 20 }, 'ARENA_FULL', /ask for fewer or smaller frames/],
    [{ frames: 4_000_000_000 }, 'NO_MEMORY', /ask for fewer or smaller frames/],
    [{ frames: 1_500_000 }, 'ARENA_FULL', /ask for fewer or smaller frames/],
  ])('with %j: %s', async (options, code, message) => {
    const opening = openEngine(options as EngineOptions);
    await expect(opening).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

describe('a port is refused', () => {
  it.each<[string, Partial<PortConfig>, string, RegExp]>([
    ['nothing:x', {}, 'NO_SUCH_PORT', /nothing:x/],
    ['null', {}, 'NO_SUCH_PORT', /null/],
    ['null:a,rings=1', {}, 'BAD_PORT_NAME', /rings/],
    ['pair:p/2', {}, 'BAD_PORT_NAME', /pair:NAME\/0/],
    ['loop:x,ring=100', {}, 'BAD_PORT_NAME', /power of two/],
    [
      'null:a',
      { rxQeues: 2 } as Partial<PortConfig>,
      'UNKNOWN_SETTING',
      /port null:a: setting rxQeues: there is no such setting; settings are rxQueues/,
    ],
    ['null:a', { rxQueues: 9 }, 'BAD_SETTING', /9 is not a whole number from 1 to 8/],
    ['null:a', { txQueues: 0 }, 'BAD_SETTING', /0 is not a whole number from 1 to 8/],
    ['null:a', { promiscuous: false }, 'UNSUPPORTED_SETTING', /always promiscuous/],
    ['null:a', { mtu: 67 }, 'BAD_SETTING', /67 is not/],
    ['null:a', { mac: 'no' }, 'BAD_MAC', /no/],
  ])('%s with %j: %s', async (name, settings, code, message) => {
    await withEngine([], async (engine) => {
      await expect(engine.open(name, settings)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      });
      expect(engine.ports.size).toBe(0);
      expect(engine.framework.devices().filter((d) => d.enumerator.class === 'memory')).toEqual([]);
    });
  });
});

describe('a run is refused', () => {
  const cpu = 4000;
  it.each<[JobSpec[], string, RegExp]>([
    [[], 'NO_JOBS', /give at least one/],
    [[job(forward, 'null:x')], 'NO_SUCH_PORT', /port null:x is not open; open it first; open are: null:a, null:b/],
    [[job(forward, 'null:a'), job(forward, 'null:a')], 'QUEUE_TAKEN', /job 0 has it/],
    [[job(forward, undefined, [], { rx: { port: 'null:a', queue: 1 } })], 'NO_SUCH_QUEUE', /the port has 1/],
    [[job(forward, undefined)], 'IDLE_JOB', /neither an rx queue nor a tx port/],
    [[job(forward, 'null:a', [], { cpu })], 'NO_SUCH_CPU', /cpu 4000: this machine has/],
    [[{ ...job(forward, 'null:a'), rxs: 1 } as JobSpec], 'BAD_JOB', /no setting "rxs"/],
    [[job({ module: 'l2fwd', options: { cb: () => {} } }, 'null:a')], 'BAD_APP_OPTION', /cannot be sent to a worker/],
    [[job({ module: './missing.mjs' }, 'null:a')], 'APP_MODULE_MISSING', /there is no file/],
    [[job({ module: 'missing' }, 'null:a')], 'APP_MODULE_MISSING', /no such package/],
    [
      [job(fake('misbehave', 'asyncFactory'), 'null:a')],
      'APP_NOT_A_FACTORY',
      /it returned a promise, not a burst function; return/,
    ],
    [[job({ module: 'l2fwd', export: 'l3fwd' }, 'null:a')], 'APP_EXPORT_MISSING', /exports l2fwd, no function "l3fwd"/],
    [[job({ module: 'gen', options: { rat: 1 } }, undefined, ['null:a'])], 'BAD_APP_OPTION', /rat/],
    [[job({ module: 'gen', options: { size: 3000 } }, undefined, ['null:a'])], 'BAD_FRAME_SIZE', /3000/],
  ])('%j', async (jobs, code, message) => {
    await withEngine(['null:a', 'null:b'], async (engine) => {
      expect(await refusal(engine.run(jobs))).toMatchObject({ code, message: expect.stringMatching(message) });
      expect(engine.activeRun).toBeUndefined();
      expect([...engine.ports.values()].map((port) => port.state)).toEqual(['stopped', 'stopped']);
    });
  });

  const alone = availableParallelism() < 2;
  it.skipIf(alone)(
    `on a cpu that this process may not use${alone ? ' (skipped: there is only one)' : ''}`,
    async () => {
      await withEngine(['null:a'], async (engine) => {
        const allowed = run('taskset', '-cp', `${process.pid}`).replace(/.*: /, '').trim();
        run('taskset', '-cp', '0', `${process.pid}`); // this thread alone: it is the one that is asked
        try {
          expect(await refusal(engine.run([job(forward, 'null:a', [], { cpu: 1 })]))).toMatchObject({
            code: 'CPU_NOT_ALLOWED',
            message: expect.stringMatching(/cpu 1: this process may use 0 .*; name one of these, or widen the set/),
          });
        } finally {
          run('taskset', '-cp', allowed, `${process.pid}`);
        }
      });
    },
  );

  it('whose ports have longer packets than the frames of the engine can hold', async () => {
    const engine = await engineWith([], { frames: 1024, frameSize: 512 });
    try {
      const port = await engine.open('pair:p/0', { mtu: 17_000 });
      const refused = engine.run([job(consume, 'pair:p/0')]);
      const message = expect.stringMatching(
        /up to 17018 bytes \(MTU 17000\), and the engine's frames have room for 256 in each of 64; open .* MTU of up to 16366$/,
      );
      expect(await refusal(refused)).toMatchObject({ code: 'FRAMES_TOO_SMALL', message });
      port.configure({ mtu: 16_366 }); // as the message says
      const taken = expect.stringMatching(/take 64 frames, and a burst has 32; open the engine with burst: 64 or more/);
      const small = engine.run([job(consume, 'pair:p/0')]);
      expect(await refusal(small)).toMatchObject({ code: 'BURST_TOO_SMALL', message: taken });
      port.configure({ mtu: 4000 });
      await stopBalanced(await engine.run([job(consume, 'pair:p/0')]));
    } finally {
      await engine.close();
    }
  });

  it('for which the arena has no room, with what was started stopped again', async () => {
    // Two workers' memory does not fit beside the frames; one's does.
    const options = { frames: 1024, arenaBytes: 2 * (64 * 1024 + 1024 * 2048 + 3 * 1024 * 1024) };
    const engine = await engineWith(['null:a', 'null:b', 'null:c'], options);
    const port = await engine.open('null:d', { rxQueues: 8 });
    const { used } = engine.arena;
    const many = Array.from({ length: 8 }, (_, queue) =>
      job(consume, undefined, [], { rx: { port: 'null:d', queue }, group: `${queue % 2}` }),
    );
    const failed = engine.run([...many, job(forward, 'null:a', ['null:b'])]).then(
      (run) => run.stop(),
      (error) => error,
    );
    const result = await failed;
    if (result instanceof Error) expect(result).toMatchObject({ code: 'ARENA_FULL' });
    expect(engine.arena.used).toEqual(used);
    expect(port.state).toBe('stopped');
    await stopBalanced(await engine.run([job(consume, 'null:a')]));
    await engine.close();
  });
});

describe('frames of impossible lengths', () => {
  const lengths = [0, 13, 14, 60, 1518, 1519, 65_535, -1, 2 ** 31 - 1];

  it.each(['null:a', 'loop:a', 'pair:a/0'])('sent to %s are accepted, counted, and given back', async (name) => {
    const engine = await engineWith([name], { drainMs: 50 });
    const run = await engine.run([job(fake('forward', 'lengths', { lengths }), undefined, [name])]);
    const { jobs, ports, ledger } = await run.done;
    expect(ledger.errors).toEqual([]);
    expect(jobs[0].frames.accepted).toBe(9n);
    expect(ports[name].tx).toMatchObject({ packets: 9n, runt: 3n, oversize: 3n, bytes: BigInt(14 + 60 + 1518) });
    await engine.close();
  });

  it('are judged by the MTU of the port', async () => {
    const engine = await engineWith([], { frameSize: 16_384, frames: 256 });
    await engine.open('null:a', { mtu: 9000 });
    const app = fake('forward', 'lengths', { lengths: [1519, 9018, 9019] });
    const run = await engine.run([job(app, undefined, ['null:a'])]);
    const { ports } = await run.done;
    expect(ports['null:a'].tx).toMatchObject({ packets: 3n, completed: 2n, oversize: 1n });
    await engine.close();
  });
});

it('a port of one engine is not another’s', async () => {
  await withEngine(['pair:p/0', 'pair:p/1'], async (first) => {
    await withEngine(['pair:p/0'], async (second) => {
      const run = await first.run([
        job({ module: 'gen', options: { count: 10 } }, undefined, ['pair:p/0']),
        job({ module: 'sink' }, 'pair:p/1'),
      ]);
      const { jobs } = await run.done;
      expect(jobs[1].counters.ok).toBe(10n);
      expect(second.ports.get('pair:p/0')?.stats().rx).toEqual({});
    });
  });
});

describe('a capture that cannot be written', () => {
  /** A folder with a capture of ten packets in it; returns paths in it. */
  function withCapture(): (name: string) => string {
    const path = testFolder();
    const records = Array.from({ length: 10 }, (_, i) => ({ seconds: 0, fraction: i, data: frame(1000, i) }));
    writeFileSync(path('in.pcap'), pcapFile({ little: true, nano: false }, records));
    return path;
  }

  it('because another engine writes it: the second is refused, the first goes on', async () => {
    const path = withCapture();
    const out = `pcap:out=${path('out.pcapng')}`;
    const first = await engineWith(['null:a', out]);
    const writing = await first.run([job(forward, 'null:a', [out])]);
    await withEngine(['null:b', out], async (second) => {
      expect(await refusal(second.run([job(forward, 'null:b', [out])]))).toMatchObject({
        code: 'PORT_BUSY',
        message: expect.stringMatching(
          /another port or engine is writing.*; name another file, or stop the other one$/,
        ),
      });
      expect([...second.ports.values()].map((port) => port.state)).toEqual(['stopped', 'stopped']);
    });
    const sent = () => writing.stats().jobs[0].frames.accepted;
    const before = sent();
    await eventually('it goes on', () => sent() > before);
    await stopBalanced(writing);
    await first.close();
  });

  it('because there is no room for its beginning: the run does not start', async () => {
    const out = 'pcap:out=/dev/full';
    await withEngine(['null:a', out], async (engine) => {
      expect(await refusal(engine.run([job(forward, 'null:a', [out])]))).toMatchObject({
        code: 'CAPTURE_DISK_FULL',
        message: expect.stringMatching(/no space is left.*; free some/),
      });
      expect([...engine.ports.values()].map((port) => port.state)).toEqual(['stopped', 'stopped']);
    });
  });

  const reason = mayMount() ? '' : ' (skipped: needs root to mount a tmpfs)';
  it.skipIf(reason !== '')(
    `because the disk fills up: every packet is in the file or counted, and the engine goes on${reason}`,
    async () => {
      const path = withCapture();
      mkdirSync(path('small'));
      run('mount', '-t', 'tmpfs', '-o', 'size=1m', 'linecard-test', path('small'));
      try {
        const [source, out] = [`pcap:${path('in.pcap')},loops=0`, `pcap:out=${path('small/out.pcapng')}`];
        await withEngine([source, out], async (engine) => {
          const full = await engine.run([job(forward, source, [out])]);
          const codes: unknown[] = [];
          full.on('port-error', (_, error) => codes.push((error as Error & { code?: string }).code));
          await eventually('the disk is full', () => codes.length > 0);
          const { ledger, ports } = await full.stop();
          expect(ledger).toMatchObject({ balanced: true, errors: [] });
          expect(codes).toEqual(['CAPTURE_DISK_FULL']);
          const { packets, io_error: failed = 0n, stopped = 0n } = ports[out].tx;
          const { packets: written, error } = await read(readFileSync(path('small/out.pcapng')), 65_536);
          expect(error, 'the file ends with a whole packet').toBeUndefined();
          expect(written).toHaveLength(Number(packets - failed - stopped));
          const other = await engine.open('null:a');
          await stopBalanced(await engine.run([job(consume, 'null:a')]));
          await engine.close(other);
        });
      } finally {
        run('umount', path('small'));
      }
    },
  );
});
