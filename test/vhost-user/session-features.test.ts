/** The back end against a front end that says anything, message by message (vhost-user.rst): features, the owner, and what was not negotiated. */
import { describe, expect, it } from 'vitest';
import { running, sessions, u64 } from '../fakes/back-end-session.ts';
import {
  bytesOf,
  ID,
  LOG_ALL,
  PACKED,
  PROTOCOL,
  PROTOCOL_FEATURES,
  tellMemory,
  tellRing,
  VERSION_1,
  words,
} from '../fakes/raw-front-end.ts';

const { world } = sessions();

describe('GET_FEATURES and SET_FEATURES', () => {
  it('offer what the driver offers, protocol features and the log', async () => {
    const front = await world().front();
    const reply = await front.ask(ID.GET_FEATURES);
    expect(reply).toMatchObject({ id: 1, flags: 5 });
    expect(u64(reply?.payload) & (PROTOCOL_FEATURES | LOG_ALL | VERSION_1)).toBe(
      PROTOCOL_FEATURES | LOG_ALL | VERSION_1,
    );
  });

  it('B4, B5: refuse a feature that was not offered, and one without what it needs; what was accepted once is again', async () => {
    const front = await world().ready();
    expect(await front.acked(ID.SET_FEATURES, words(1n << 63n))).toBe(1n);
    expect(await front.acked(ID.SET_FEATURES, words(VERSION_1 | (1n << 7n)))).toBe(1n);
    for (let i = 0; i < 2; i++) {
      expect(await front.acked(ID.SET_FEATURES, words(VERSION_1 | PROTOCOL_FEATURES))).toBe(0n);
      await front.done(ID.SET_STATUS, words(0n));
    }
  });

  it('take MQ without CTRL_VQ: front ends keep the control queue to themselves', async () => {
    const front = await world().ready();
    expect(await front.acked(ID.SET_FEATURES, words(VERSION_1 | PROTOCOL_FEATURES | (1n << 22n)))).toBe(0n);
  });

  it('refuse what changes the layout of rings that run, but start and end the log', async () => {
    const w = world();
    const { front } = await running(w);
    const features = VERSION_1 | PROTOCOL_FEATURES;
    expect(await front.acked(ID.SET_FEATURES, words(features | PACKED))).toBe(1n);
    expect(await front.acked(ID.SET_FEATURES, words(features | (1n << 15n)))).toBe(1n);
    expect(await front.acked(ID.SET_FEATURES, words(features))).toBe(0n);
    w.owner.log.length = 0;
    expect(await front.acked(ID.SET_FEATURES, words(features | LOG_ALL))).toBe(0n);
    expect(w.owner.log).toEqual(['stop 0', 'start 0']);
    expect(w.owner.running.get(0)?.features).toBe(features | LOG_ALL);
  });

  it('without protocol features rings start enabled', async () => {
    const w = world();
    const front = await w.ready(VERSION_1, PROTOCOL & ~(1n << 16n));
    await tellMemory(front, w.shared());
    await tellRing(front, 0);
    expect(w.owner.running.get(0)?.enabled).toBe(true);
    expect(await front.acked(ID.SET_VRING_ENABLE, words(0, 0))).toBe(1n);
  });
});

describe('GET_PROTOCOL_FEATURES and SET_PROTOCOL_FEATURES', () => {
  it('are legal before SET_FEATURES', async () => {
    const front = await world().front();
    const reply = await front.ask(ID.GET_PROTOCOL_FEATURES);
    expect(u64(reply?.payload)).toBe(PROTOCOL);
    await front.send(bytesOf(ID.SET_PROTOCOL_FEATURES, words(PROTOCOL)));
    expect(u64((await front.ask(ID.GET_QUEUE_NUM))?.payload)).toBe(1n);
  });

  it.each([6, 7, 8, 10, 11, 14, 17, 18, 19, 63])('refuse bit %i, which is not offered', async (bit) => {
    const front = await world().ready();
    const answer = await front.acked(ID.SET_PROTOCOL_FEATURES, words(PROTOCOL | (1n << BigInt(bit))));
    expect(answer).toBe(1n);
    expect(u64((await front.ask(ID.GET_QUEUE_NUM))?.payload)).toBe(1n);
  });

  it('in-band notifications without BACKEND_REQ and REPLY_ACK end the connection', async () => {
    const front = await world().ready();
    expect(await front.acked(ID.SET_PROTOCOL_FEATURES, words(1n << 14n))).toBe('gone');
  });
});

describe('SET_OWNER and RESET_OWNER', () => {
  it('refuse a second owner', async () => {
    const front = await world().ready();
    expect(await front.acked(ID.SET_OWNER)).toBe(1n);
  });

  it('disable the rings, and nothing more', async () => {
    const w = world();
    const { front } = await running(w);
    w.owner.log.length = 0;
    await front.done(ID.RESET_OWNER);
    expect(w.owner.log).toEqual(['enable 0 off']);
    expect(w.owner.running.size).toBe(1);
  });
});

describe('what was not negotiated', () => {
  it.each([
    ['GET_QUEUE_NUM', ID.GET_QUEUE_NUM, new Uint8Array(0)],
    ['SEND_RARP', ID.SEND_RARP, words(1n)],
    ['NET_SET_MTU', ID.NET_SET_MTU, words(1500n)],
    ['SET_BACKEND_REQ_FD', ID.SET_BACKEND_REQ_FD, new Uint8Array(0)],
    ['SET_CONFIG', ID.SET_CONFIG, words(0, 1, 0, 1)],
    ['GET_INFLIGHT_FD', ID.GET_INFLIGHT_FD, words(0n, 0n, 0x0100_0001, 0)],
    ['RESET_DEVICE', ID.RESET_DEVICE, new Uint8Array(0)],
    ['GET_MAX_MEM_SLOTS', ID.GET_MAX_MEM_SLOTS, new Uint8Array(0)],
    ['SET_STATUS', ID.SET_STATUS, words(1n)],
    ['GET_STATUS', ID.GET_STATUS, new Uint8Array(0)],
  ])('%s is refused', async (_name, id, payload) => {
    const front = await world().ready(VERSION_1 | PROTOCOL_FEATURES, 1n << 3n);
    // What has an answer of its own has none that says no.
    expect([1n, 'gone']).toContain(await front.acked(id, payload));
  });
});
