import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { GrantedRights } from '../../lib/devios/xsk-grant.ts';
import type { UnixConnection } from '../../lib/unix/connection.ts';
import { UnixListener } from '../../lib/unix/listener.ts';
import { loadNative } from '../../native/index.ts';
import { openFds } from '../fakes/fds.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { grantWorld } from '../fakes/grant.ts';
import { waitFor } from '../fakes/netns.ts';

const native = loadNative();
const inFolder = temporaryFolder();
const world = grantWorld(inFolder);
const open: { close(): void }[] = [];
afterEach(() => {
  for (const thing of open.splice(0)) thing.close();
});

const wish = { match: [], closed: false, frags: false };

/** A helper that answers what `answer` returns, and sends an fd with it when it says so; it hangs up on undefined. */
let made = 0;
function helper(
  answer: (request: { id: number; type: string }) => object | string | undefined,
  fds: readonly number[] = [],
) {
  const path = inFolder(`h${made++}`);
  const connections: UnixConnection[] = [];
  const connected = async (connection: UnixConnection) => {
    connections.push(connection);
    for (;;) {
      const message = await connection.read(4096, { fds: 1 });
      if (message === undefined) break;
      for (const fd of message.fds) native.close(fd);
      const request = JSON.parse(Buffer.from(message.bytes).toString());
      const said = answer(request);
      if (said === undefined) break;
      const text = typeof said === 'string' ? said : JSON.stringify({ id: request.id, ...said });
      await connection.send(Buffer.from(text), request.type === 'socket' ? fds : []);
    }
    connection.close();
  };
  open.push(new UnixListener(native, { path, kind: 'seqpacket', connected: (c) => void connected(c).catch(() => {}) }));
  open.push({ close: () => connections.map((connection) => connection.close()) });
  return { path, match: '' };
}

const yes = { ok: { index: 2, mode: 'native' } };

async function lease(place: { path: string; match: string }): Promise<GrantedRights> {
  const rights = await GrantedRights.open(native, place, 'eth0', 2);
  open.push(rights);
  return rights;
}

test('It asks a helper for everything that takes privileges, in order', async () => {
  const {
    helper: real,
    path,
    rights: there,
  } = await world([{ name: 'eth0', queues: { first: 0, last: 1 }, force: false }]);
  await real.start();
  const rights = await lease({ path, match: 'udp/53' });
  await rights.setPromiscuous(true);
  expect(await rights.attach(wish)).toEqual({ mode: 'skb', why: 'it is a fake' });
  await rights.feed(0, 0);
  rights.starve(0);
  rights.detach();
  await rights.setPromiscuous(true);
  await rights.setPromiscuous(false);
  await expect(rights.feed(9, 0)).rejects.toMatchObject({ code: 'GRANT_REFUSED', name: 'DevioError' });
  const fds = openFds().size;
  await expect(rights.openSocket(0, false)).rejects.toMatchObject({
    code: 'GRANT_PROTOCOL',
    message: expect.stringContaining('no AF_XDP socket'),
  });
  expect(openFds().size).toBe(fds);
  rights.close();
  await waitFor('it is taken back', () => there[0]!.calls.at(-1)![0] === 'close');
  expect(there[0]!.calls).toEqual([
    ['promiscuous', true],
    ['detach'],
    ['attach', undefined, 1, false],
    ['feed', 0],
    ['starve', 0],
    ['detach'],
    ['promiscuous', false],
    ['socket', 0, false],
    ['close'],
  ]);
});

test('A helper in another network namespace is recognised: its interface has another number', async () => {
  const place = helper(() => ({ ok: { index: 7 } }));
  await expect(GrantedRights.open(native, place, 'eth0', 2)).rejects.toMatchObject({
    code: 'GRANT_NAMESPACE',
    message: expect.stringContaining('ip netns exec'),
  });
});

test('Nobody there is an error that says what to start', async () => {
  await expect(GrantedRights.open(native, { path: inFolder('nobody'), match: '' }, 'eth0', 2)).rejects.toMatchObject({
    code: 'UNIX_CONNECT',
  });
});

test('Who is turned away without a word is told what that may mean', async () => {
  await expect(
    GrantedRights.open(
      native,
      helper(() => undefined),
      'eth0',
      2,
    ),
  ).rejects.toMatchObject({
    code: 'GRANT_REFUSED',
    message: expect.stringContaining('for another user'),
  });
});

test('What the helper refuses has its code and its words', async () => {
  const detail = { errno: 'EBUSY' };
  const place = helper(({ type }) =>
    type === 'hello' ? yes : { error: { code: 'XDP_ATTACH', message: 'a: b; c', detail } },
  );
  const rights = await lease(place);
  await expect(rights.attach(wish)).rejects.toMatchObject({ code: 'XDP_ATTACH', message: 'a: b; c', detail });
});

test('The end of the helper is told once, at once, and everything after it fails', async () => {
  const place = helper(({ type }) => (type === 'hello' ? yes : undefined));
  const rights = await lease(place);
  const whys: string[] = [];
  rights.onLost((why) => whys.push(why));
  await expect(rights.attach(wish)).rejects.toMatchObject({ code: 'GRANT_LOST' });
  await expect(rights.feed(0, 0)).rejects.toMatchObject({ code: 'GRANT_LOST' });
  rights.detach();
  rights.starve(0);
  await sleep(5);
  expect(whys).toEqual(['the process that granted it has ended']);
});

test('An end that nobody asked about is told as well; our own is not', async () => {
  const place = helper(() => yes);
  const [one, two] = [await lease(place), await lease(place)];
  const lost: number[] = [];
  one.onLost(() => lost.push(1));
  two.onLost(() => lost.push(2));
  two.close();
  for (const thing of open.splice(0, 2)) thing.close();
  await waitFor('it is told', () => lost.length > 0);
  await sleep(5);
  expect(lost).toEqual([1]);
});

test.each([
  ['no JSON', 'yes'],
  ['another number', { id: 99, ok: {} }],
  ['neither yes nor no', { id: undefined, maybe: 1 }],
  ['an error without a code', { error: { message: 'x', detail: {} } }],
  ['an error with more than plain data', { error: { code: 'X', message: 'x', detail: { a: {} } } }],
])('An answer that is none ends the lease: %s', async (_, answer) => {
  const place = helper(({ type }) => (type === 'hello' ? yes : answer));
  const rights = await lease(place);
  const whys: string[] = [];
  rights.onLost((why) => whys.push(why));
  await expect(rights.attach(wish)).rejects.toMatchObject({ code: 'GRANT_PROTOCOL' });
  expect(whys).toHaveLength(1);
});

test('A socket without an fd, or with two, is none, and leaves none behind', async () => {
  const stock = [native.eventfd(), native.eventfd()];
  const before = openFds().size;
  for (const fds of [[], stock]) {
    const rights = await lease(helper(() => yes, fds));
    await expect(rights.openSocket(0, false)).rejects.toMatchObject({
      code: expect.stringMatching(/^GRANT_(PROTOCOL|LOST)$/),
    });
    for (const thing of open.splice(0)) thing.close();
  }
  await waitFor('all is closed', () => openFds().size === before);
  for (const fd of stock) native.close(fd);
});

test('A helper that does not answer is given up after five seconds', async () => {
  const path = inFolder('mute');
  const connections: UnixConnection[] = [];
  const connected = (connection: UnixConnection) => {
    connections.push(connection);
    void connection.read(4096).then(() => connection.send(Buffer.from(JSON.stringify({ id: 1, ...yes }))));
  };
  open.push(new UnixListener(native, { path, kind: 'seqpacket', connected }));
  open.push({ close: () => connections.map((connection) => connection.close()) });
  const rights = await lease({ path, match: '' });
  const start = performance.now();
  await expect(rights.attach(wish)).rejects.toMatchObject({ code: 'GRANT_LOST' });
  expect(performance.now() - start).toBeGreaterThan(4900);
});
