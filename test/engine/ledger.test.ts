import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { balance, inFlight, type LedgerInput } from '../../lib/engine/ledger.ts';
import { JOB_COUNTERS } from '../../workers/control.ts';
import { heldBy } from '../../workers/ledger.ts';

const job = (counters: Record<string, bigint>) => ({
  ...Object.fromEntries(JOB_COUNTERS.map((name) => [name, 0n])),
  ...counters,
});
const port = (rx: bigint, tx: Record<string, bigint> = {}, inRings = 0) => ({
  name: 'port',
  stats: { rx: { packets: rx, bytes: 60n * rx }, tx: { packets: 0n, bytes: 0n, completed: 0n, ...tx } },
  inRings,
});
const input = (more: Partial<LedgerInput>): LedgerInput => ({
  total: 100,
  free: 100,
  inRings: 0,
  lost: 0,
  jobs: [],
  ports: [],
  ...more,
});

describe('what a job holds', () => {
  it('is what came in less what went out, by every reason', () => {
    const reasons = JOB_COUNTERS.filter((name) => name.startsWith('dropped_'));
    expect(reasons.length).toBe(6);
    const dropped = Object.fromEntries(reasons.map((name, i) => [name, BigInt(i + 1)]));
    expect(heldBy(job({ delivered: 100n, allocated: 50n, accepted: 70n, consumed: 9n, ...dropped }))).toBe(50n);
  });
});

describe('what a tx side has in flight', () => {
  it('is what was accepted less completed and every kind of failure; bytes are no frames', () => {
    expect(
      inFlight({ packets: 10n, bytes: 999n, completed: 4n, runt: 1n, oversize: 1n, stopped: 1n, of_a_driver: 1n }),
    ).toBe(2n);
  });

  it('is frames: those that packets had beyond one each are in flight too, and end as frames', () => {
    expect(inFlight({ packets: 2n, extra_frames: 8n, bytes: 18_000n, completed: 5n, oversize: 5n })).toBe(0n);
    expect(inFlight({ packets: 2n, extra_frames: 8n, bytes: 18_000n, completed: 5n })).toBe(5n);
  });
});

describe('the ledger', () => {
  it('balances when nothing has moved', () => {
    expect(balance(input({}))).toEqual({
      ...{ total: 100, free: 100, inRings: 0, held: 0, lost: 0, missing: 0 },
      ...{ errors: [], balanced: true },
    });
  });

  it('balances with frames held, lost and in rings', () => {
    const ledger = balance(
      input({
        ...{ free: 80, inRings: 10, lost: 3 },
        jobs: [job({ delivered: 20n, accepted: 13n })],
        ports: [port(20n, { packets: 13n, completed: 3n }, 10)],
      }),
    );
    expect(ledger).toMatchObject({ held: 7, missing: 10, balanced: true, errors: [] });
  });

  it('counts the frames of jobs against the packets of ports and what these had beyond one frame each', () => {
    const base = port(3n, { packets: 2n, extra_frames: 5n, completed: 4n }, 3);
    const stats = { ...base.stats, rx: { ...base.stats.rx, extra_frames: 7n } };
    const books = { free: 94, inRings: 3, jobs: [job({ delivered: 10n, accepted: 7n })], ports: [{ ...base, stats }] };
    expect(balance(input(books))).toMatchObject({ held: 3, errors: [], balanced: true });
    const one = { ...books, jobs: [job({ delivered: 9n, accepted: 7n })] };
    expect(balance(input({ ...one, free: 95 })).errors).toHaveLength(1);
  });

  it.each<[string, Partial<LedgerInput>]>([
    ['frames missing from the pool', { free: 99 }],
    ['frames missing from the pool', { lost: 1 }],
    [
      'tx accepted less completed',
      { jobs: [job({ delivered: 1n, accepted: 1n })], ports: [port(1n, { packets: 1n })] },
    ],
    ['frames received by ports', { ports: [port(1n)] }],
    ['frames accepted from jobs', { jobs: [job({ allocated: 1n, accepted: 1n })], ports: [port(0n)] }],
  ])('says what does not add up: %s', (what, more) => {
    const ledger = balance(input(more));
    expect(ledger.balanced).toBe(false);
    expect(ledger.errors.some((error) => error.includes(what))).toBe(true);
  });

  const amount = fc.integer({ min: 0, max: 1000 });
  const flow = fc.record({ sent: amount, dropped: amount, kept: amount, flying: amount, failed: amount });

  test.prop([fc.array(flow, { maxLength: 5 })])(
    'balances for any honest books, and not when one frame is taken',
    (flows) => {
      const big = (n: number) => BigInt(n);
      const jobs = flows.map(({ sent, dropped, kept, flying, failed }) =>
        job({
          delivered: big(sent + flying + failed + dropped + kept),
          accepted: big(sent + flying + failed),
          dropped_filter: big(dropped),
        }),
      );
      const ports = flows.map(({ sent, dropped, kept, flying, failed }, i) => ({
        ...port(
          big(sent + flying + failed + dropped + kept),
          { packets: big(sent + flying + failed), completed: big(sent), runt: big(failed) },
          flying,
        ),
        name: `port ${i}`,
      }));
      const inRings = flows.reduce((sum, f) => sum + f.flying, 0);
      const held = flows.reduce((sum, f) => sum + f.kept, 0);
      const books = { total: 20_000, free: 20_000 - inRings - held, inRings, lost: 0, jobs, ports };
      expect(balance(books)).toMatchObject({ balanced: true, held });
      expect(balance({ ...books, free: books.free - 1 }).balanced).toBe(false);
    },
  );
});
