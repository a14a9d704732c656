/** A supervising process in this one, with engines that are processes, and functions that are not there. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { Supervision, type SupervisionEvent, type SupervisionOptions } from '../../lib/keeper/supervision.ts';
import { loadNative } from '../../native/index.ts';
import { openFds } from '../fakes/fds.ts';
import { FakeHands, type FakeKept } from '../fakes/keeper.ts';

const ENGINE = fileURLToPath(new URL('../fakes/keeper-engine.mjs', import.meta.url));
const ADDRESS = '0000:01:00.0';
const native = loadNative();

/** Hands that close what they are given, too. */
class RealHands extends FakeHands {
  private readonly files: number[] = [];
  override take(...[message, fds]: Parameters<FakeHands['take']>) {
    const access = super.take(message, fds);
    return {
      ...access,
      close: () => {
        access.close();
        for (const fd of fds) native.close(fd);
      },
    };
  }
  override closedFirst(fd: number, others: readonly number[]): number {
    super.closedFirst(fd, others);
    this.files.push(native.eventfd());
    return this.files.at(-1)!;
  }
  override close(fd: number): void {
    super.close(fd);
    native.close(fd);
  }
}

function supervise(what: string, made: FakeKept = {}, more: Partial<SupervisionOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'linecard-kept-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const hands = new RealHands();
  hands.made.set(ADDRESS, made);
  const events: SupervisionEvent[] = [];
  const supervision = new Supervision(native, hands, {
    command: [process.execPath, ENGINE, ADDRESS, what],
    env: process.env,
    restarts: 0,
    folder,
    tell: (event) => events.push(event),
    ...more,
  });
  const types = () => events.map(({ type }) => type);
  /** What was done, without numbers of files. */
  const done = () => hands.log.map((line) => line.replace(/ \d+.*/, ''));
  return { supervision, hands, events, types, done, folder, end: supervision.run() };
}

test('An engine that dies at once after it has handed over: stopped, reset, closed, its memory last; nothing stays open', async () => {
  const before = openFds().size;
  const { end, done, types, folder, events } = supervise('die');
  expect(await end).toBe(137);
  expect(done()).toEqual(['duplicate', '01 bus master off', '01 reset', 'close', '01 close', 'close']);
  expect(types()).toEqual(['started', 'ended', 'settled']);
  expect(events.at(-1)).toMatchObject({ address: ADDRESS, backend: 'uio', stuck: false, errors: [] });
  expect(readdirSync(folder)).toEqual([]);
  expect(openFds().size).toBe(before);
});

test('While it lives a record says who has the function; what it gives back nobody touches', async () => {
  const { supervision, end, done, types, folder } = supervise('wait');
  await expect.poll(() => readdirSync(folder), { timeout: 10_000 }).toEqual([`${ADDRESS}.json`]);
  expect(JSON.parse(readFileSync(join(folder, `${ADDRESS}.json`), 'utf8'))).toMatchObject({
    address: ADDRESS,
    keeper: { pid: process.pid },
  });
  supervision.signal('SIGTERM');
  expect(await end).toBe(143);
  expect(done()).toContain('01 bus master off');

  const released = supervise('release');
  expect(await released.end).toBe(0);
  expect(released.done()).toEqual(['duplicate', 'close', '01 close', 'close']);
  expect([released.types(), readdirSync(released.folder)]).toEqual([['started', 'ended'], []]);
  expect(types()).toEqual(['started', 'ended', 'settled']);
});

test('One that is given back at the end, is so after its files have been closed', async () => {
  const order: string[] = [];
  const rebind = async (address: string) => {
    order.push(...done(), `rebind ${address}`);
    return 'e1000e';
  };
  const { end, events, done } = supervise('die', {}, { rebind });
  expect(await end).toBe(137);
  expect(order.slice(-2)).toEqual(['close', `rebind ${ADDRESS}`]);
  expect(events.at(-1)).toEqual({ type: 'rebound', address: ADDRESS, driver: 'e1000e' });
  const failing = supervise('die', {}, { rebind: () => Promise.reject(new Error('no')) });
  expect(await failing.end).toBe(137);
  expect(failing.events.at(-1)).toMatchObject({ type: 'error', error: { message: 'no' } });
});

test('A function that does not stop: its memory is kept, nothing is started again, until somebody says so', async () => {
  const { supervision, end, done, types } = supervise('die', { sticky: 'ever' }, { restarts: 5 });
  await expect.poll(types, { timeout: 10_000 }).toEqual(['started', 'ended', 'settled']);
  let ended = false;
  void end.then(() => {
    ended = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect([ended, done().at(-1)]).toEqual([false, '01 close']);
  supervision.signal('SIGINT');
  expect(await end).toBe(137);
});

test('An engine that breaks the protocol is left to itself, and stops; then its functions are seen to', async () => {
  const { end, done, events } = supervise('babble');
  expect(await end).toBe(7);
  expect(events.map(({ type }) => type)).toEqual(['started', 'error', 'ended', 'settled']);
  expect(events[1]).toMatchObject({ error: { code: 'KEEPER_PROTOCOL' } });
  expect(done()).toContain('01 bus master off');
});

test('What cannot be started is told', async () => {
  const before = openFds().size;
  const { end } = supervise('', {}, { command: ['/nowhere/node'] });
  await expect(end).rejects.toMatchObject({ code: 'SUPERVISE' });
  expect(openFds().size).toBe(before);
});
