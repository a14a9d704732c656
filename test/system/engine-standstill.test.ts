/** While workers stand still, they do: no poll, no frame moves, however soon one standstill follows another. */
import { openEngine } from 'linecard';
import { expect, it } from 'vitest';

interface Insides {
  readonly crew: { readonly workers: readonly { readonly memory: Memory }[] };
  readonly standstill: { during(action: () => void): Promise<boolean> };
}

interface Memory {
  readonly stacked: number;
  counters(): Readonly<Record<string, bigint>>;
  jobLedger(index: number): Readonly<Record<string, bigint>>;
}

it('moves nothing during standstills that follow each other at once', async () => {
  const engine = await openEngine({ mode: 'busy' });
  try {
    for (const name of ['null:a', 'null:b']) await engine.open(name);
    const run = await engine.run([
      { app: { module: 'l2fwd' }, rx: { port: 'null:a' }, tx: ['null:b'] },
      { app: { module: 'l2fwd' }, rx: { port: 'null:b' }, tx: ['null:a'] },
    ]);
    const { crew, standstill } = run as unknown as Insides;
    const look = () =>
      crew.workers.map(({ memory }) => [memory.stacked, memory.counters().polls, memory.jobLedger(0).delivered]);
    let moved = 0;
    const action = () => {
      const before = look();
      for (const end = performance.now() + 0.3; performance.now() < end; );
      if (String(look()) !== String(before)) moved++;
    };
    let held = 0;
    for (let round = 0; round < 60; round++) {
      const all = await Promise.all(Array.from({ length: 8 }, () => standstill.during(action)));
      held += all.filter(Boolean).length;
    }
    expect(held).toBeGreaterThan(100);
    expect(moved).toBe(0);
    expect((await run.stop()).ledger.errors).toEqual([]);
  } finally {
    await engine.close();
  }
});
