import { lstatSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DevioError } from '../../lib/errors.ts';
import { openFds } from '../fakes/fds.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { grantWorld, HELLO } from '../fakes/grant.ts';
import { waitFor } from '../fakes/netns.ts';
import { closeAll } from '../fakes/unix.ts';

const world = grantWorld(temporaryFolder());
const error = (code: string, message: RegExp | string = '') => ({
  error: {
    code,
    message: typeof message === 'string' ? expect.stringContaining(message) : expect.stringMatching(message),
  },
});

test('An engine gets what it asks for, each request one answer, and all is taken back when it goes', async () => {
  const { helper, engine, rights, events } = await world();
  await helper.start();
  const of = await engine();
  expect(await of.say(HELLO)).toEqual({ id: 1, ok: { index: 2 } });
  expect(await of.say({ id: 2, type: 'promiscuous', on: true })).toEqual({ id: 2, ok: {} });
  const attach = { id: 3, type: 'attach', mode: null, match: 'udp/53+vlan/7', closed: true, frags: false };
  expect(await of.say(attach)).toEqual({ id: 3, ok: { mode: 'skb', why: 'it is a fake' } });
  expect(await of.say({ id: 4, type: 'socket', queue: 1, busyPoll: true })).toEqual({ id: 4, ok: {} });
  expect(of.fds()).toBe(1);
  expect(await of.say({ id: 5, type: 'feed', queue: 1 }, [0])).toEqual({ id: 5, ok: {} });
  expect(await of.say({ id: 6, type: 'starve', queue: 1 })).toEqual({ id: 6, ok: {} });
  expect(await of.say({ id: 7, type: 'detach' })).toEqual({ id: 7, ok: {} });
  of.connection.close();
  await waitFor('it is taken back', () => rights[0]!.calls.at(-1)![0] === 'close');
  expect(rights[0]!.calls).toEqual([
    ['promiscuous', true],
    ['detach'],
    ['attach', undefined, 2, true],
    ['socket', 1, true],
    ['feed', 1],
    ['starve', 1],
    ['detach'],
    ['close'],
  ]);
  const peer = expect.objectContaining({ pid: process.pid, uid: process.getuid!() });
  expect(events).toEqual([
    { type: 'granted', port: 'eth0', peer },
    { type: 'released', port: 'eth0', peer },
  ]);
});

test('Fds do not add up: those that come and those that go are closed', async () => {
  const { helper, engine } = await world();
  await helper.start();
  const of = await engine();
  await of.say(HELLO);
  const before = openFds().size;
  for (let i = 0; i < 20; i++) {
    await of.say({ id: i, type: 'socket', queue: 0, busyPoll: false });
    await of.say({ id: i, type: 'feed', queue: 0 }, [0]);
    expect(of.fds()).toBe(1);
  }
  expect(openFds().size).toBe(before);
});

test('An interface is for one engine at a time, and for the next when that has gone', async () => {
  const { helper, engine } = await world();
  await helper.start();
  const [first, second] = [await engine(), await engine()];
  await first.say(HELLO);
  expect(await second.say(HELLO)).toMatchObject(error('GRANT_TAKEN', `process ${process.pid} has it`));
  first.connection.close();
  await waitFor('it is free', async () => (await second.say(HELLO))!.ok !== undefined);
});

test('Nothing but what is granted can be had: other interfaces, other queues, packets of other queues', async () => {
  const ports = [
    { name: 'eth0', queues: { first: 2, last: 3 }, force: false },
    { name: 'gone', force: false },
    { name: 'tun0', force: false },
  ];
  const { kernel, helper, engine, rights } = await world(ports);
  kernel.put({ index: 9, name: 'gone' });
  kernel.put({ index: 4, name: 'tun0' });
  await helper.start();
  const of = await engine();
  expect(await of.say({ ...HELLO, interface: 'eth1' })).toMatchObject(error('GRANT_REFUSED', 'granted are eth0, gone'));
  kernel.remove(9);
  expect(await of.say({ ...HELLO, interface: 'gone' })).toMatchObject(error('NO_SUCH_INTERFACE'));
  expect(await of.say(HELLO)).toMatchObject({ ok: { index: 2 } });
  for (const queue of [0, 1, 4, 255]) {
    expect(await of.say({ id: 2, type: 'socket', queue, busyPoll: false })).toMatchObject(error('GRANT_REFUSED'));
    expect(await of.say({ id: 2, type: 'feed', queue }, [0])).toMatchObject(error('GRANT_REFUSED'));
    expect(await of.say({ id: 2, type: 'starve', queue })).toMatchObject(error('GRANT_REFUSED'));
  }
  const attach = { id: 3, type: 'attach', mode: 'native', match: '', frags: false };
  expect(await of.say({ ...attach, closed: true })).toMatchObject(error('GRANT_REFUSED', 'closed=1'));
  expect(rights[0]!.calls).toEqual([]);
  expect(await of.say({ ...attach, closed: false })).toMatchObject({ ok: { mode: 'skb' } });
  expect(await of.say({ ...attach, match: 'rubbish', closed: false })).toMatchObject(error('BAD_MATCH'));
  expect(await of.say({ id: 5, type: 'socket', queue: 2, busyPoll: false })).toMatchObject({ ok: {} });
  expect(of.fds()).toBe(1);
});

test('The interface that a default route leaves by is refused, at the start and later, unless forced', async () => {
  const forced = await world([{ name: 'eth0', force: true }]);
  forced.kernel.routes = [2];
  await forced.helper.start();
  expect(await (await forced.engine()).say(HELLO)).toMatchObject({ ok: {} });
  const late = await world();
  await late.helper.start();
  late.kernel.routes = [2];
  expect(await (await late.engine()).say(HELLO)).toMatchObject(error('GRANT_REFUSED', 'default route'));
  const early = await world();
  early.kernel.routes = [2];
  await expect(early.helper.start()).rejects.toMatchObject({ code: 'GRANT_REFUSED' });
  expect(() => lstatSync(early.path)).toThrow('ENOENT');
});

test('What there is not, or carries no Ethernet, is an error at once', async () => {
  for (const name of ['nothing', 'tun0']) {
    const { helper, kernel } = await world([{ name, force: false }]);
    await expect(helper.start()).rejects.toMatchObject({ code: 'NO_SUCH_INTERFACE' });
    expect(kernel.open.size).toBe(0);
  }
});

test('The socket is for its user alone', async () => {
  const { helper, path } = await world();
  await helper.start();
  const { mode, uid } = lstatSync(path);
  expect([mode & 0o777, uid]).toEqual([0o600, process.getuid!()]);
});

test('A failure is told with its code, and the lease goes on', async () => {
  const { helper, engine, rights } = await world();
  await helper.start();
  const of = await engine();
  await of.say(HELLO);
  const failure = new DevioError('XDP_ATTACH', { what: 'a', why: 'b', fix: 'c' }, { detail: { errno: 'EBUSY' } });
  rights[0]!.failing.set('attach', failure);
  const attach = { id: 2, type: 'attach', mode: null, match: '', closed: false, frags: false };
  expect(await of.say(attach)).toEqual({
    id: 2,
    error: { code: 'XDP_ATTACH', message: 'a: b; c', detail: { errno: 'EBUSY' } },
  });
  rights[0]!.failing.clear();
  expect(await of.say(attach)).toMatchObject({ ok: { mode: 'skb' } });
});

const broken: [string, object | string, number?][] = [
  ['no JSON', 'hello'],
  ['no object', '[1]'],
  ['no number', { ...HELLO, id: undefined }],
  ['a number that is none', { ...HELLO, id: 2 ** 53 }],
  ['no such request', { id: 1, type: 'shutdown' }],
  ['a name that every object has', { id: 1, type: 'constructor' }],
  ['another version', { ...HELLO, version: 2 }],
  ['a version beyond 16 bits', { ...HELLO, version: 2 ** 32 + 1 }],
  ['a name that is too long', { ...HELLO, interface: 'x'.repeat(16) }],
  ['a value too many', { ...HELLO, extra: 1 }],
  ['a value that is missing', { id: 1, type: 'hello', version: 1 }],
  ['a value by inheritance', '{"id":1,"type":"hello","__proto__":{"version":1,"interface":"eth0"}}'],
  ['something before hello', { id: 1, type: 'detach' }],
  ['an fd that does not belong there', HELLO, 1],
];

test.each(broken)('Who does not keep to the protocol is told so and hung up on: %s', async (_, record, fds = 0) => {
  const { helper, engine, events, rights } = await world();
  await helper.start();
  // Of the two ends only ours: it has not been accepted yet.
  const of = await engine();
  const before = openFds().size;
  const answer = await of.say(record, Array(fds).fill(0));
  expect((answer!.error as { code: string }).code).toMatch(/^GRANT_(PROTOCOL|VERSION)$/);
  expect(await of.connection.read(1)).toBeUndefined();
  expect(rights).toEqual([]);
  await waitFor('it is told', () => events.length === 1);
  expect(events[0]!.type).toBe('refused');
  expect(openFds().size).toBe(before);
});

test('Requests with impossible values are refused after hello as well, and the lease ends', async () => {
  for (const record of [
    { id: 2, type: 'socket', queue: 256, busyPoll: false },
    { id: 2, type: 'socket', queue: 2 ** 32, busyPoll: false },
    { id: 2, type: 'socket', queue: -1, busyPoll: false },
    { id: 2, type: 'socket', queue: 0.5, busyPoll: false },
    { id: 2, type: 'socket', queue: '0', busyPoll: false },
    { id: 2, type: 'socket', queue: 0, busyPoll: 1 },
    { id: 2, type: 'attach', mode: 'hw', match: '', closed: false, frags: false },
    { id: 2, type: 'attach', mode: null, match: 'x'.repeat(2049), closed: false, frags: false },
    { id: 2, type: 'feed', queue: 0 },
    HELLO,
  ]) {
    const { helper, engine, rights } = await world();
    await helper.start();
    const of = await engine();
    await of.say(HELLO);
    expect(await of.say(record), JSON.stringify(record)).toMatchObject(error('GRANT_PROTOCOL'));
    expect(await of.connection.read(1)).toBeUndefined();
    expect(rights[0]!.calls).toEqual([['close']]);
  }
});

test('Who connects and says nothing, or too much, is hung up on, and others are served meanwhile', async () => {
  const { helper, engine } = await world();
  await helper.start();
  const [silent, long, good] = [await engine(), await engine(), await engine()];
  const start = performance.now();
  await long.connection.send(new Uint8Array(5000));
  expect(await long.connection.read(1)).toBeUndefined();
  expect(await good.say(HELLO)).toMatchObject({ ok: {} });
  expect(await silent.connection.read(1)).toBeUndefined();
  expect(performance.now() - start).toBeGreaterThan(1900);
  expect(await good.say({ id: 2, type: 'detach' })).toMatchObject({ ok: {} });
});

test('When the helper is closed, its engines see the end, and its socket has gone', async () => {
  const { helper, engine, rights, path } = await world();
  await helper.start();
  const of = await engine();
  await of.say(HELLO);
  await helper.close();
  await helper.close();
  expect(rights[0]!.calls).toEqual([['close']]);
  expect(await of.connection.read(1)).toBeUndefined();
  expect(() => lstatSync(path)).toThrow('ENOENT');
});

test('Rubbish, with any fds, harms nobody: the next engine is served, fds are flat', async () => {
  const { helper, engine, native } = await world();
  await helper.start();
  const stock = [native.eventfd(), native.eventfd()];
  const before = openFds().size;
  const value = fc.oneof(fc.jsonValue(), fc.constantFrom('hello', 'eth0', 1, null, true, 'attach', 'socket', 2 ** 32));
  const record = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 200 }),
    fc
      .dictionary(
        fc.constantFrom('id', 'type', 'version', 'interface', 'queue', 'on', 'mode', 'match', 'closed'),
        value,
      )
      .map((object) => Buffer.from(JSON.stringify(object))),
  );
  await fc.assert(
    fc.asyncProperty(record, fc.nat(2), fc.boolean(), async (bytes, fds, greeted) => {
      const of = await engine();
      if (greeted) await waitFor('it is free', async () => (await of.say(HELLO))!.ok !== undefined);
      await of.connection.send(bytes, stock.slice(0, fds));
      const answer = await of.connection.read(4096, { fds: 8, startMs: 1000 });
      closeAll(answer?.fds);
      of.connection.close();
    }),
    { numRuns: 300 },
  );
  await waitFor('all is closed', () => openFds().size === before);
  closeAll(stock);
  const last = await engine();
  await waitFor('it is served', async () => (await last.say(HELLO))!.ok !== undefined);
  await sleep(1);
});
