import { createSocket } from 'node:dgram';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Child, lastJson } from '../../bench/child.ts';
import { compile } from '../../bench/compile.ts';
import {
  judgeTrips,
  type OpenClient,
  type Path,
  type RoundTripEntry,
  runRoundTrips,
  type Trips,
  type TripsByName,
} from '../../bench/round-trips.ts';
import { ROUND_TRIPS } from '../../bench/trials.ts';

const trips = (over: Partial<Trips> = {}): Trips => ({
  ...{ trips: 1000, ns: 1e9, lost: 0, p50: 20_000, p99: 50_000, max: 90_000 },
  ...over,
});
const never = new AbortController().signal;

/** A client that writes down what it is asked for. */
const clientOf =
  (log: string[], answer: Trips = trips()): OpenClient =>
  async ({ address }) => ({
    async ask(ms, inFlight) {
      log.push(`${address}: ${ms} ms, ${inFlight}`);
      return answer;
    },
    async close() {
      log.push(`${address}: client closed`);
    },
  });

const entry = (name: string, log: string[], faults: string[] = [], ours = true): RoundTripEntry => ({
  ...{ name, ours },
  open: async (): Promise<Path> => ({
    address: name,
    port: 7,
    async close() {
      log.push(`${name}: closed`);
      return { faults };
    },
  }),
});

describe('runRoundTrips', () => {
  test('one entry after the other is opened, warmed up, asked with each number in flight, and closed', async () => {
    const log: string[] = [];
    await runRoundTrips({ inFlight: [1, 32] }, [entry('a', log)], clientOf(log), 50, 0, {}, never);
    expect(log).toEqual([
      ...['a: 200 ms, 1', 'a: 50 ms, 1', 'a: 200 ms, 32', 'a: 50 ms, 32'],
      ...['a: client closed', 'a: closed'],
    ]);
  });

  test('each begins a round in its turn', async () => {
    const log: string[] = [];
    const entries = [entry('a', log), entry('b', log)];
    await runRoundTrips({ inFlight: [1] }, entries, clientOf(log), 50, 1, {}, never);
    expect(log.filter((line) => line.endsWith(': closed'))).toEqual(['b: closed', 'a: closed']);
  });

  test('one of ours that is not answered is a fault; a peer is absent, with the reason; both are closed', async () => {
    const log: string[] = [];
    const into: TripsByName = {};
    const entries = [entry('a', log), entry('peer', log, [], false)];
    const dumb = clientOf(log, trips({ trips: 0 }));
    await runRoundTrips({ inFlight: [1] }, entries, dumb, 50, 0, into, never);
    await runRoundTrips({ inFlight: [1] }, entries, dumb, 50, 1, into, never);
    const why = 'no answers in 50 ms with 1 in flight';
    expect(into.a).toEqual({ samples: {}, faults: [why], absent: why });
    expect(into.peer).toEqual({ samples: {}, faults: [], absent: why });
    expect(log.filter((line) => line.endsWith(': closed'))).toEqual(['a: closed', 'peer: closed']);
  });

  test('what a path says at its end counts', async () => {
    const into: TripsByName = {};
    await runRoundTrips({ inFlight: [1] }, [entry('a', [], ['unbalanced'])], clientOf([]), 50, 0, into, never);
    expect(into.a!.faults).toEqual(['unbalanced']);
  });

  test('after an abort nobody is opened', async () => {
    const abort = new AbortController();
    abort.abort();
    const log: string[] = [];
    await runRoundTrips({ inFlight: [1] }, [entry('a', log)], clientOf(log), 50, 0, {}, abort.signal);
    expect(log).toEqual([]);
  });
});

test('a report has microseconds and trips per second, and names who was broken', () => {
  const series: TripsByName = {
    a: { samples: { 1: [trips(), trips({ p50: 40_000 }), trips({ p50: 30_000, lost: 2 })] }, faults: ['unbalanced'] },
    b: { samples: {}, faults: [], absent: 'not installed' },
  };
  const report = judgeTrips(ROUND_TRIPS[0]!, series);
  expect(report.rows).toHaveLength(1);
  expect(report.rows[0]).toMatchObject({ name: 'a', inFlight: 1, lost: 2 });
  expect(report.rows[0]!.p50).toMatchObject({ median: 30, min: 20, max: 40 });
  expect(report.rows[0]!.perSecond.median).toBe(1000);
  expect(report.absent).toEqual(['b: not installed']);
  expect(report.faults).toEqual(['rtt, a: unbalanced']);
});

describe('the C++ program', () => {
  const start = async (...args: string[]): Promise<Child> =>
    new Child({ name: 'round-trips', command: await compile('round-trips'), args, quit: '' });

  const freePort = async (): Promise<string> => {
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    const { port } = socket.address();
    await new Promise<void>((resolve) => socket.close(() => resolve()));
    return String(port);
  };

  test.each([1, 32])('asks and answers over loopback with %i in flight', { timeout: 60_000 }, async (inFlight) => {
    const port = await freePort();
    const server = await start('answer', port);
    onTestFinished(() => server.close().then(() => {}));
    await server.expect(/ready\n/, 5000);
    const client = await start('ask', '127.0.0.1', port, '1000');
    onTestFinished(() => client.close().then(() => {}));
    await client.expect(/ready\n/, 5000);
    client.send(`300 ${inFlight}`);
    const said = lastJson(await client.expect(/\}\n/, 5000)) as Trips;
    expect(said.trips).toBeGreaterThan(inFlight);
    expect(said.ns).toBeGreaterThanOrEqual(300e6);
    expect(said.lost).toBe(0);
    expect([0 < said.p50, said.p50 <= said.p99, said.p99 <= said.max]).toEqual([true, true, true]);
    expect([await client.close(), await server.close()]).toEqual(['', '']);
  });

  test('counts what is not answered', { timeout: 60_000 }, async () => {
    let heard = 0;
    // Answers every request but the third.
    const server = createSocket('udp4').on('message', (data, { port, address }) => {
      if (++heard !== 3) server.send(data, port, address);
    });
    await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
    const client = await start('ask', '127.0.0.1', String(server.address().port), '1000');
    try {
      client.send('1500 1');
      const said = lastJson(await client.expect(/\{.*\}\n/, 5000)) as Trips;
      expect(said.lost).toBe(1);
      expect(said.trips).toBeGreaterThan(2);
    } finally {
      await client.close();
      server.close();
    }
  });
});
