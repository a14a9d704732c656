import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, expect, it, vi } from 'vitest';
import { RegistryError } from '../../lib/errors.ts';
import { Callbacks, isTimeout } from '../../lib/framework/callbacks.ts';
import { codeOf, deferred, hang, rejection, sleep } from '../fakes/framework.ts';

function make() {
  const late: string[] = [];
  return { late, callbacks: new Callbacks((source, error) => late.push(`${source}: ${String(error)}`)) };
}

describe('calls of foreign code', () => {
  it('gives back what the callback gives, whether at once or later', async () => {
    const { callbacks } = make();
    expect(await callbacks.run('driver x', 'probe', () => 7, { deadlineMs: 100 })).toBe(7);
    expect(await callbacks.run('driver x', 'probe', async () => 8, { deadlineMs: 100 })).toBe(8);
  });

  it('rejects with what was thrown, whether at once or later', async () => {
    const { callbacks } = make();
    const thrown = new Error('no');
    const sync = callbacks.run(
      'driver x',
      'probe',
      () => {
        throw thrown;
      },
      { deadlineMs: 100 },
    );
    expect(await rejection(sync)).toBe(thrown);
    const later = callbacks.run('driver x', 'probe', () => Promise.reject(thrown), { deadlineMs: 100 });
    expect(await rejection(later)).toBe(thrown);
  });

  it('gives up at the deadline, with an error that names callback, object and time', async () => {
    const { callbacks } = make();
    const error = await rejection(callbacks.run('driver x', 'probe', hang, { deadlineMs: 5 }));
    expect(error).toBeInstanceOf(RegistryError);
    expect(error.message).toBe('probe of driver x: it did not end within 5 ms; find out what it waits for');
    expect([codeOf(error), isTimeout(error)]).toEqual(['CALLBACK_TIMEOUT', true]);
  });

  it('hands a late result to whoever releases it', async () => {
    const { callbacks } = make();
    const gate = deferred<string>();
    let released = '';
    const late = (result: Promise<string>) =>
      void result.then((value) => {
        released = value;
      });
    await rejection(callbacks.run('driver x', 'probe', () => gate.promise, { deadlineMs: 5, late }));
    gate.resolve('pktio');
    await sleep(1);
    expect(released).toBe('pktio');
  });

  it('reports a late rejection', async () => {
    const { callbacks, late } = make();
    const gate = deferred();
    await rejection(callbacks.run('driver x', 'probe', () => gate.promise, { deadlineMs: 5 }));
    gate.reject(new Error('too late'));
    await sleep(1);
    expect(late).toEqual(['driver x: Error: too late']);
  });
});

describe('a callback that waits for what can only happen after it', () => {
  it('is told so, also when it asked after waiting for something else', async () => {
    const { callbacks } = make();
    const probe = async () => {
      await sleep(1);
      callbacks.asks('the removal of device d');
      await hang();
    };
    const error = await rejection(callbacks.run('driver x', 'probe', probe, { deadlineMs: 20 }));
    expect(codeOf(error)).toBe('WAITS_FOR_ITSELF');
    expect(error.message).toContain('having asked for the removal of device d, which is done after it');
    expect(isTimeout(error)).toBe(true);
  });

  it('may ask and return', async () => {
    const { callbacks } = make();
    expect(
      await callbacks.run(
        'driver x',
        'probe',
        () => {
          callbacks.asks('x');
          return 1;
        },
        { deadlineMs: 20 },
      ),
    ).toBe(1);
  });

  it('is not mixed up with one that ended: what its timers ask for later is theirs', async () => {
    const { callbacks } = make();
    const asked = deferred();
    const start = () =>
      void setTimeout(() => {
        callbacks.asks('x');
        asked.resolve();
      }, 1);
    await callbacks.run('enumerator e', 'start', start, { deadlineMs: 20 });
    const error = await rejection(
      callbacks.run('driver x', 'probe', () => asked.promise.then(hang), { deadlineMs: 20 }),
    );
    expect(codeOf(error)).toBe('CALLBACK_TIMEOUT');
  });

  it('is still known as what it is when another one has ended meanwhile', async () => {
    const { callbacks } = make();
    const other = deferred();
    const probe = async () => {
      await other.promise;
      await null;
      callbacks.asks('x');
      await hang();
    };
    const first = callbacks.run('driver x', 'probe', probe, { deadlineMs: 20 });
    await callbacks.run('devio y', 'close', () => {}, { deadlineMs: 20 });
    other.resolve();
    expect(codeOf(await rejection(first))).toBe('WAITS_FOR_ITSELF');
  });
});

describe('contexts', () => {
  it('none stays switched on when no callback runs: on Node.js 20 each of them would slow down every promise for ever', async () => {
    const on = new Set<unknown>();
    const run = vi.spyOn(AsyncLocalStorage.prototype, 'run');
    const disable = vi.spyOn(AsyncLocalStorage.prototype, 'disable');
    const { callbacks } = make();
    await callbacks.run('driver x', 'probe', () => {}, { deadlineMs: 20 });
    await rejection(callbacks.run('driver x', 'probe', () => Promise.reject(new Error('no')), { deadlineMs: 20 }));
    await rejection(callbacks.run('driver x', 'probe', hang, { deadlineMs: 5 }));
    const gate = deferred();
    await rejection(callbacks.run('driver x', 'probe', () => gate.promise, { deadlineMs: 5 }));
    gate.resolve();
    await sleep(1);
    for (const [n, context] of run.mock.contexts.entries()) {
      on.add(context);
      const end = disable.mock.invocationCallOrder.findLastIndex((order) => order > run.mock.invocationCallOrder[n]!);
      if (disable.mock.contexts[end] === context) on.delete(context);
    }
    expect([run.mock.calls.length, on.size]).toEqual([4, 0]);
    vi.restoreAllMocks();
  });
});
