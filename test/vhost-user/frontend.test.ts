/** The front end's side of a connection against a back end that lies. */
import { describe, expect, it } from 'vitest';
import { UnixConnection } from '../../lib/unix/connection.ts';
import { FrontEnd } from '../../lib/vhost-user/frontend.ts';
import { loadNative } from '../../native/index.ts';
import { countFds } from '../fakes/fds.ts';
import { bytesOf, ID, RawFrontEnd, type Reply, words } from '../fakes/raw-front-end.ts';

const native = loadNative();

/** A front end, and what sits at the other end and is told what to say. */
function pair(timeoutMs = 1000) {
  const [a, b] = native.socketPair();
  const lost: string[] = [];
  const close = (fd: number) => native.close(fd);
  const front = new FrontEnd(new UnixConnection(native, a, 'stream'), close, timeoutMs, {
    lost: (why) => lost.push(why),
  });
  const peer = new RawFrontEnd(native, new UnixConnection(native, b, 'stream'));
  const end = () => {
    front.hangUp();
    peer.close();
  };
  return { front, peer, lost, end };
}

type Answers = (message: Reply) => Uint8Array | undefined;

/** Has the peer answer until it is gone. */
async function serve(peer: RawFrontEnd, answers: Answers, fds: readonly number[] = []): Promise<void> {
  for (;;) {
    const message = await peer.reply(3000).catch(() => undefined);
    if (message === undefined) return;
    for (const fd of message.fds) native.close(fd);
    const answer = answers(message);
    if (answer !== undefined) await peer.send(answer, fds).catch(() => {});
  }
}

const reply = (id: number, payload: Uint8Array, flags = 5) => bytesOf(id, payload, flags);
const OFFER = 1n << 30n;

/** A back end that behaves: everything is acknowledged. */
const honest: Answers = ({ id, flags, payload }) => {
  if (id === ID.GET_FEATURES) return reply(id, words(OFFER | (1n << 32n)));
  if (id === ID.GET_PROTOCOL_FEATURES) return reply(id, words(0xffff_ffffn));
  if (id === ID.GET_QUEUE_NUM) return reply(id, words(4n));
  if (id === ID.GET_VRING_BASE) return reply(id, payload);
  return (flags & 8) === 0 ? undefined : reply(id, words(0n));
};

describe('negotiation', () => {
  it('takes of the protocol features what it can use, and owns the session', async () => {
    const { front, peer, end } = pair();
    const seen: number[] = [];
    void serve(peer, (message) => {
      seen.push(message.id);
      return honest(message);
    });
    await front.negotiate();
    expect(front.protocol).toBe(0x1a239n);
    expect(seen).toEqual([ID.GET_FEATURES, ID.GET_PROTOCOL_FEATURES, ID.SET_PROTOCOL_FEATURES, ID.SET_OWNER]);
    end();
  });

  it('has the back end note what it is working on if that is wanted: INFLIGHT_SHMFD is bit 12', async () => {
    const { front, peer, end } = pair();
    void serve(peer, honest);
    await front.negotiate(true);
    expect(front.protocol).toBe(0x1a239n | (1n << 12n));
    end();
  });

  it('asks an old back end nothing of protocol features, and for no acknowledgements', async () => {
    const { front, peer, end } = pair();
    const seen: [number, number][] = [];
    void serve(peer, (message) => {
      seen.push([message.id, message.flags]);
      return message.id === ID.GET_FEATURES ? reply(message.id, words(1n << 32n)) : undefined;
    });
    await front.negotiate();
    await front.ask('SET_VRING_NUM', { index: 0, num: 256 });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(seen).toEqual([
      [ID.GET_FEATURES, 1],
      [ID.SET_OWNER, 1],
      [ID.SET_VRING_NUM, 1],
    ]);
    end();
  });
});

describe('answers', () => {
  const lies: [string, Uint8Array][] = [
    ['to another message', reply(ID.GET_QUEUE_NUM, words(1n))],
    ['without the reply bit', reply(ID.GET_FEATURES, words(1n), 1)],
    ['of version 0', reply(ID.GET_FEATURES, words(1n), 4)],
    ['of version 2', reply(ID.GET_FEATURES, words(1n), 6)],
    ['that are too short', reply(ID.GET_FEATURES, words(1))],
    ['that are too long', reply(ID.GET_FEATURES, words(1n, 1))],
    ['that are empty', reply(ID.GET_FEATURES, new Uint8Array(0))],
    ['that say that they are 4 GiB long', words(ID.GET_FEATURES, 5, 2 ** 32 - 1)],
  ];

  it.each(lies)('%s are not believed, and end the connection', async (_what, bytes) => {
    const { front, peer, lost, end } = pair();
    void serve(peer, () => bytes);
    await expect(front.ask('GET_FEATURES', undefined)).rejects.toMatchObject({ code: 'VHOST_BAD_REPLY' });
    expect(lost).toHaveLength(1);
    await expect(front.ask('GET_FEATURES', undefined)).rejects.toMatchObject({ code: 'VHOST_BAD_REPLY' });
    expect(lost).toHaveLength(1);
    end();
  });

  it('with fds that nobody asked for are not believed, and the fds are closed', async () => {
    const { front, peer, end } = pair();
    const fd = native.eventfd();
    const before = countFds('eventfd');
    void serve(peer, () => reply(ID.GET_FEATURES, words(1n)), [fd]);
    await expect(front.ask('GET_FEATURES', undefined)).rejects.toMatchObject({ code: 'VHOST_BAD_REPLY' });
    expect(countFds('eventfd')).toBe(before);
    native.close(fd);
    end();
  });

  it('about another ring are not believed', async () => {
    const { front, peer, end } = pair();
    void serve(peer, ({ id }) => reply(id, words(1, 0)));
    await expect(front.ask('GET_VRING_BASE', { index: 0, num: 0 })).rejects.toMatchObject({ code: 'VHOST_BAD_REPLY' });
    end();
  });

  it.each([
    ['another offset', words(4, 4, 0, 0)],
    ['another size', words(0, 8, 0, 0n)],
    ['a size that is not what comes', words(0, 4, 0)],
  ])('about another part of the configuration are not believed: %s', async (_what, payload) => {
    const { front, peer, end } = pair();
    void serve(peer, ({ id }) => reply(id, payload));
    const ask = { offset: 0, size: 4, flags: 0, bytes: new Uint8Array(4) };
    await expect(front.ask('GET_CONFIG', ask)).rejects.toMatchObject({ code: 'VHOST_BAD_REPLY' });
    end();
  });

  it('of no bytes about the configuration say that there is none, and nothing worse', async () => {
    const { front, peer, lost, end } = pair();
    void serve(peer, ({ id }) => reply(id, new Uint8Array(0)));
    const ask = { offset: 0, size: 4, flags: 0, bytes: new Uint8Array(4) };
    await expect(front.ask('GET_CONFIG', ask)).rejects.toMatchObject({ code: 'VHOST_NACK' });
    expect(lost).toEqual([]);
    end();
  });

  it('that refuse are told, and the connection goes on', async () => {
    const { front, peer, lost, end } = pair();
    void serve(peer, (message) => (message.id === ID.SET_FEATURES ? reply(message.id, words(1n)) : honest(message)));
    await front.negotiate();
    await expect(front.ask('SET_FEATURES', 1n)).rejects.toMatchObject({ code: 'VHOST_NACK' });
    await front.ask('SET_VRING_NUM', { index: 0, num: 256 });
    expect(lost).toEqual([]);
    end();
  });

  it.each([
    ['are not 8 bytes long', words(0)],
    ['are empty', new Uint8Array(0)],
  ])('that acknowledge and %s are not believed', async (_what, payload) => {
    const { front, peer, end } = pair();
    void serve(peer, (message) => (message.id === ID.SET_FEATURES ? reply(message.id, payload) : honest(message)));
    await front.negotiate();
    await expect(front.ask('SET_FEATURES', 1n)).rejects.toMatchObject({ code: 'VHOST_BAD_REPLY' });
    end();
  });

  it('that do not come in time end the connection', async () => {
    const { front, peer, lost, end } = pair(100);
    void serve(peer, () => undefined);
    const start = performance.now();
    await expect(front.ask('GET_FEATURES', undefined)).rejects.toMatchObject({ code: 'DEVICE_TIMEOUT' });
    expect(performance.now() - start).toBeLessThan(500);
    expect(lost[0]).toContain('within 100 ms');
    end();
  });

  it('of which half comes end the connection in time', async () => {
    const { front, peer, end } = pair(100);
    void serve(peer, ({ id }) => words(id, 5));
    await expect(front.ask('GET_FEATURES', undefined)).rejects.toMatchObject({ code: 'DEVICE_TIMEOUT' });
    end();
  });

  it('that are a hang-up are that', async () => {
    const { front, peer, lost, end } = pair();
    void serve(peer, () => {
      peer.close();
      return undefined;
    });
    await expect(front.ask('GET_FEATURES', undefined)).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    expect(lost).toHaveLength(1);
    end();
  });
});

describe('questions', () => {
  it('are asked one after the other', async () => {
    const { front, peer, end } = pair();
    let asked = 0;
    void serve(peer, (message) => {
      asked++;
      return honest(message);
    });
    const all = await Promise.all([
      front.ask('GET_FEATURES', undefined),
      front.ask('GET_QUEUE_NUM', undefined),
      front.ask('GET_VRING_BASE', { index: 3, num: 9 }),
    ]);
    expect(all.map(({ value }) => value)).toEqual([OFFER | (1n << 32n), 4n, { index: 3, num: 9 }]);
    expect(asked).toBe(3);
    end();
  });

  it('after hanging up are not asked, and nothing is told', async () => {
    const { front, lost, end } = pair();
    front.hangUp();
    await expect(front.ask('GET_FEATURES', undefined)).rejects.toMatchObject({ code: 'DEVICE_LOST' });
    expect(lost).toEqual([]);
    end();
  });
});
