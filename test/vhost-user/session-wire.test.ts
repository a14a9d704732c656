/** The back end against a front end that says anything, message by message (vhost-user.rst): what comes over the wire. */
import { describe, expect, it } from 'vitest';
import type { World } from '../fakes/back-end.ts';
import { running, SIZE, sessions, u64 } from '../fakes/back-end-session.ts';
import { countFds } from '../fakes/fds.ts';
import { waitFor } from '../fakes/netns.ts';
import {
  address,
  bytesOf,
  GPA,
  ID,
  PROTOCOL,
  PROTOCOL_FEATURES,
  type RawFrontEnd,
  region,
  table,
  tellMemory,
  tellRing,
  UVA,
  VERSION_1,
  words,
} from '../fakes/raw-front-end.ts';

const { world } = sessions();

describe('the wire', () => {
  const goodAfter = async (w: World): Promise<void> => {
    const front = await w.ready();
    expect(u64((await front.ask(ID.GET_QUEUE_NUM))?.payload)).toBe(1n);
    front.close();
  };
  const silent = async (front: RawFrontEnd) => expect(await front.reply()).toBeUndefined();

  it.each([
    ['version 0', words(ID.GET_FEATURES, 0, 0)],
    ['version 2', words(ID.GET_FEATURES, 2, 0)],
    ['a reply', words(ID.GET_FEATURES, 5, 0)],
    ['4097 bytes', words(ID.SET_FEATURES, 1, 4097)],
    ['2^32 - 1 bytes', words(ID.SET_FEATURES, 1, 2 ** 32 - 1)],
  ])('%s ends the connection, and the next one is served', async (_what, bytes) => {
    const w = world();
    const front = await w.front();
    await front.send(bytes);
    await silent(front);
    await goodAfter(w);
  });

  it.each([
    ['a u64 with 7 bytes', ID.SET_FEATURES, new Uint8Array(7)],
    ['a u64 with 9 bytes', ID.SET_FEATURES, new Uint8Array(9)],
    ['nothing with 8 bytes', ID.SET_OWNER, new Uint8Array(8)],
    ['a state with 12 bytes', ID.SET_VRING_NUM, new Uint8Array(12)],
    ['an address with 36 bytes', ID.SET_VRING_ADDR, new Uint8Array(36)],
    ['a config with 4 bytes', ID.SET_CONFIG, new Uint8Array(4)],
    ['an inflight with 22 bytes', ID.SET_INFLIGHT_FD, new Uint8Array(22)],
    ['a log with 8 bytes', ID.SET_LOG_FD, new Uint8Array(8)],
  ])('%s is refused', async (_what, id, payload) => {
    expect(await (await world().ready()).acked(id, payload)).toBe(1n);
  });

  it('CVE-2019-14818: more fds than a message has are closed, each time', async () => {
    const w = world();
    const fd = w.eventfd();
    const before = countFds('eventfd');
    const front = await w.ready();
    for (let i = 0; i < 100; i++) expect(await front.acked(ID.SET_OWNER, undefined, Array(8).fill(fd))).toBe(1n);
    expect(countFds('eventfd')).toBe(before);
    // More than any message has: the connection is no good any more.
    await front.send(bytesOf(ID.SET_OWNER), Array(253).fill(fd));
    await silent(front);
    await waitFor('all are closed', () => countFds('eventfd') === before);
    await goodAfter(w);
  });

  it('CVE-2019-14818: SET_VRING_NUM and SET_VRING_ADDR, ten thousand times, allocate nothing', async () => {
    const w = world();
    const front = await w.ready();
    await tellMemory(front, w.shared());
    const used = w.memory.used;
    for (let i = 0; i < 5000; i++) {
      await front.send(bytesOf(ID.SET_VRING_NUM, words(0, 256)));
      await front.send(bytesOf(ID.SET_VRING_ADDR, address(0)));
    }
    await front.done(ID.SET_VRING_NUM, words(0, 256));
    expect(w.memory.used).toBe(used);
  });

  it('need_reply is answered once, and not at all without REPLY_ACK', async () => {
    const w = world();
    const front = await w.ready(VERSION_1 | PROTOCOL_FEATURES);
    await front.send(bytesOf(ID.GET_FEATURES, undefined, 9));
    expect(await front.reply()).toMatchObject({ id: 1, flags: 5 });
    await front.send(bytesOf(ID.SET_VRING_ENABLE, words(0, 1), 9));
    expect(await front.reply()).toMatchObject({ id: 18, flags: 5 });
    await front.send(bytesOf(ID.GET_QUEUE_NUM));
    expect(await front.reply()).toMatchObject({ id: 17 });
    front.close();
    const plain = await w.front();
    await plain.send(bytesOf(ID.SET_OWNER, undefined, 9));
    expect(await plain.ask(ID.GET_FEATURES)).toMatchObject({ id: 1 });
  });

  it('a message in pieces is put together', async () => {
    const front = await world().front();
    const bytes = bytesOf(ID.GET_FEATURES);
    for (const byte of bytes) await front.send(Uint8Array.of(byte));
    expect(await front.reply()).toMatchObject({ id: 1 });
  });

  it('a peer that sends 6 bytes and stops is dropped in time, and in nobody’s way', async () => {
    const w = world({ withinMs: 300 });
    const slow = await w.front();
    await slow.send(new Uint8Array(6));
    await goodAfter(w);
    await waitFor('it is dropped', () => slow.ended, 2000);
    const half = await w.front();
    await half.send(words(ID.SET_FEATURES, 1, 8));
    await waitFor('it is dropped', () => half.ended, 2000);
  });

  it('50 slow ones do not keep a good one waiting, and are dropped', async () => {
    const w = world({ withinMs: 1000 });
    const slow = await Promise.all(Array.from({ length: 50 }, () => w.front()));
    const timer = setInterval(() => {
      for (const one of slow) if (!one.ended) one.send(new Uint8Array(1)).catch(() => {});
    }, 100);
    const good = await w.ready();
    const start = performance.now();
    await good.ask(ID.GET_QUEUE_NUM);
    expect(performance.now() - start).toBeLessThan(500);
    await waitFor('they are dropped', () => slow.every(({ ended }) => ended), 5000);
    clearInterval(timer);
    expect(good.ended).toBe(false);
  });

  it('has one front end at a time: a second one is sent away, and may come back', async () => {
    const w = world();
    const first = await w.ready();
    const second = await w.front();
    await second.send(bytesOf(ID.GET_FEATURES));
    await silent(second);
    expect(first.ended).toBe(false);
    first.close();
    await goodAfter(w);
  });

  it('a front end that hangs up leaves nothing: rings stopped, memory unmapped, told within 100 ms', async () => {
    const w = world();
    const { front } = await running(w);
    const start = performance.now();
    front.close();
    await waitFor('it is told', () => w.owner.log.at(-1)?.startsWith('disconnected') === true);
    expect(performance.now() - start).toBeLessThan(100);
    expect(w.memory.used).toBe(0);
    await goodAfter(w);
  });

  it('a reconnect storm leaves fds and memory as they were', async () => {
    const w = world();
    const { fd } = w.shared();
    await goodAfter(w);
    await waitFor('it has gone', () => w.owner.log.at(-1)?.startsWith('disconnected') === true);
    const before = countFds('');
    for (let i = 0; i < 200; i++) {
      const front = await w.ready(VERSION_1 | PROTOCOL_FEATURES, PROTOCOL & ~(1n << 16n));
      await front.done(ID.SET_MEM_TABLE, table(region(GPA, SIZE, UVA)), [fd]);
      await tellRing(front, 0);
      front.close();
    }
    await waitFor('the last has gone', () => w.owner.log.at(-1)?.startsWith('disconnected') === true);
    expect(countFds('')).toBe(before);
    expect(w.owner.log.filter((entry) => entry === 'start 0')).toHaveLength(200);
  });

  it('only the uid that was asked for may connect', async () => {
    const w = world({ uid: process.getuid!() + 1 });
    const front = await w.front();
    await front.send(bytesOf(ID.GET_FEATURES)).catch(() => {});
    await silent(front);
  });
});
