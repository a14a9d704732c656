/** Each system call of the main thread fails once, at start-up, during a run and at shutdown. */
import { setTimeout as sleep } from 'node:timers/promises';
import { openEngine } from 'linecard';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { belongings, givenBack, job } from '../fakes/linecard.ts';

type Call = (...args: unknown[]) => unknown;

/** Calls that give something back: they have done so when they fail. The others have done nothing. */
const RELEASING = ['close', 'unmap'];
/** Calls whose failure is no failure of the engine: a wake-up that does not arrive is a sleep that ends by itself. */
const CALLS = ['mapMemory', 'unmap', 'eventfd', 'close', 'epollCreate', 'epollAdd', 'affinity', 'addressRemainder'];

/** The addon of this thread, which all engines of this process share. */
let native: Record<string, Call>;
const real = new Map<string, Call>();
let calls: string[] = [];
/** The number of the call that fails, from 1; 0: none does. */
let failing = 0;

beforeEach(async () => {
  const engine = await openEngine({ frames: 64 });
  native = engine.arena.native as unknown as Record<string, Call>;
  await engine.close();
  for (const name of CALLS) {
    const call = native[name];
    real.set(name, call);
    native[name] = (...args) => {
      calls.push(name);
      const fails = calls.length === failing;
      const error = () => Object.assign(new Error(`${name}: injected`), { syscall: name, errno: -5, code: 'EIO' });
      if (fails && !RELEASING.includes(name)) throw error();
      const result = call(...args);
      if (fails) throw error();
      return result;
    };
  }
});
afterEach(() => {
  for (const [name, call] of real) native[name] = call;
});

/** An engine's whole life. Returns the errors that it met, oldest first. */
async function life(): Promise<Error[]> {
  const errors: Error[] = [];
  const attempt = async <T>(action: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await action();
    } catch (error) {
      errors.push(error as Error);
      return undefined;
    }
  };
  const engine = await attempt(() => openEngine({ frames: 256 }));
  if (engine === undefined) return errors;
  engine.framework.on((event) => {
    if (event.type === 'error' || event.type === 'device-failed') errors.push(event.error);
  });
  for (const name of ['pair:p/0', 'pair:p/1', 'loop:x', 'null:n']) await attempt(() => engine.open(name));
  const run = await attempt(() =>
    engine.run([
      job({ module: 'gen', options: { count: 50 } }, undefined, ['pair:p/0'], { group: 'g' }),
      job({ module: 'sink' }, 'pair:p/1', [], { group: 'g' }),
      job({ module: 'l2fwd' }, 'null:n', ['loop:x'], { group: 'h' }),
    ]),
  );
  if (run !== undefined) {
    await sleep(5);
    const [port] = [...engine.ports.values()].filter(({ name }) => name === 'loop:x');
    if (port !== undefined) await attempt(() => engine.close(port));
    const result = await run.stop();
    errors.push(...result.errors);
    expect(result.ledger.errors.join('\n'), `call ${failing}: ${calls[failing - 1]}`).toBe('');
  }
  await attempt(() => engine.close());
  return errors;
}

it('whichever call fails: it is told, nothing hangs, and everything else is given back', {
  timeout: 300_000,
}, async () => {
  expect(await life()).toEqual([]);
  const all = [...calls];
  const before = belongings();
  expect(new Set(all)).toEqual(
    new Set(['mapMemory', 'unmap', 'eventfd', 'close', 'epollCreate', 'epollAdd', 'affinity', 'addressRemainder']),
  );
  for (failing = 1; failing <= all.length; failing++) {
    calls = [];
    const errors = await life();
    const failed = calls[failing - 1];
    if (failed === undefined) break; // an earlier failure has made the life a shorter one
    const chain = errors.map((error) => [error.message, (error.cause as Error | undefined)?.message].join(' '));
    // A close that fails has closed all the same: it may be passed over.
    if (failed !== 'close') expect(chain.join('\n'), `call ${failing}`).toContain(`${failed}: injected`);
    await givenBack(before, `${failed}, call ${failing}`);
  }
  failing = 0;
});
