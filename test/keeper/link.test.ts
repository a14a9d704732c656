/** An engine and its keeper, over a socket that is real: what arrives, and what does when one of them has gone. */
import { fstatSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { KeeperLink } from '../../lib/keeper/link.ts';
import { decodeMessage, encodeMessage, KEEPER_FDS, type KeeperMessage, lengthOf } from '../../lib/keeper/protocol.ts';
import { UnixConnection } from '../../lib/unix/connection.ts';
import { loadNative } from '../../native/index.ts';
import { thrown } from '../fakes/errors.ts';
import { openFds } from '../fakes/fds.ts';

const native = loadNative();
const ADDRESS = '0000:01:00.0';

function pair(releaseMs?: number) {
  const [a, b] = native.socketPair();
  const link = new KeeperLink(native, a, releaseMs);
  const keeper = new UnixConnection(native, b, 'stream');
  onTestFinished(() => {
    link.close();
    keeper.close();
  });
  const lost: string[] = [];
  link.onLost((why) => lost.push(why));
  return { link, keeper, lost };
}

const file = () => {
  const fd = native.eventfd();
  onTestFinished(() => native.close(fd));
  return fd;
};

/** The next message, and which files came with it. */
async function next(keeper: UnixConnection): Promise<{ message: KeeperMessage; fds: number; inodes: bigint[] }> {
  const head = (await keeper.read(4, { fds: KEEPER_FDS, startMs: 1000 }))!;
  const body = (await keeper.read(lengthOf(head.bytes), { startMs: 1000 }))!;
  const inodes = head.fds.map((fd) => fstatSync(fd, { bigint: true }).ino);
  for (const fd of head.fds) native.close(fd);
  return { message: decodeMessage(body.bytes), fds: head.fds.length, inodes };
}

const device = (fd: number, configFd = fd, backend = 'vfio') => ({
  ...{ address: ADDRESS, backend, fd },
  configFile: { fd: configFd, position: 4096 },
});

describe('What an engine hands over', () => {
  it('arrives: its memory before the function that may use it, each once', async () => {
    const { link, keeper } = pair();
    const [one, two, three] = [{ fd: file() }, { fd: file() }, { fd: file() }];
    const none = { fd: -1 };
    link.keep(device(file()), [one, none, two]);
    link.keep(device(file()), [one, none, two]);
    link.keep(device(file()), [two, three]);
    expect((await next(keeper)).message).toMatchObject({ type: 'hello' });
    expect(await next(keeper)).toMatchObject({ message: { type: 'memory', ids: [1, 2] }, fds: 2 });
    expect(await next(keeper)).toMatchObject({
      message: { type: 'function', address: ADDRESS, backend: 'vfio', position: 4096 },
      fds: 1,
    });
    expect(await next(keeper)).toMatchObject({ message: { type: 'memory', ids: [3] }, fds: 1 });
    expect(await next(keeper)).toMatchObject({ message: { type: 'forget', ids: [1] }, fds: 0 });
  });

  it('is there although the engine has gone at once', async () => {
    const { link, keeper } = pair();
    const memory = Array.from({ length: KEEPER_FDS + 5 }, () => ({ fd: file() }));
    link.keep(device(file(), file(), 'uio'), memory);
    link.close();
    await next(keeper);
    expect((await next(keeper)).fds).toBe(KEEPER_FDS);
    expect((await next(keeper)).fds).toBe(5);
    expect(await next(keeper)).toMatchObject({ message: { type: 'function', backend: 'uio' }, fds: 2 });
    expect(await keeper.read(4)).toBeUndefined();
  });

  it('is given back with an answer; what was never kept needs none', async () => {
    const { link, keeper, lost } = pair();
    await link.release(ADDRESS, []);
    const memory = [{ fd: file() }];
    link.keep(device(file()), memory);
    let done = false;
    const released = link.release(ADDRESS, []).then(() => {
      done = true;
    });
    for (let i = 0; i < 3; i++) await next(keeper);
    const { message } = await next(keeper);
    expect(message).toMatchObject({ type: 'release', address: ADDRESS });
    expect((await next(keeper)).message).toEqual({ type: 'forget', ids: [1] });
    await sleep(20);
    expect(done).toBe(false);
    await keeper.send(Buffer.from(Uint32Array.of((message as { number: number }).number).buffer));
    await released;
    expect(lost).toEqual([]);
  });
});

describe('A keeper that', () => {
  it('has ended is told of once, and nothing can be handed over any more', async () => {
    const { link, keeper, lost } = pair();
    link.keep(device(file()), []);
    const releasing = link.release(ADDRESS, []);
    keeper.close();
    await releasing;
    await expect.poll(() => lost).toHaveLength(1);
    expect(thrown(() => link.keep(device(file()), [])).code).toBe('KEEPER_LOST');
    await link.release(ADDRESS, []);
    expect(lost).toHaveLength(1);
  });

  it('does not answer is given up', async () => {
    const { link, lost } = pair(30);
    link.keep(device(file()), []);
    await link.release(ADDRESS, []);
    expect(lost).toEqual([`it did not let go of ${ADDRESS} within 30 ms`]);
  });

  it('does not read is given up, before its fds are lost', () => {
    const { link, lost } = pair();
    const error = thrown(() => {
      for (;;) link.keep(device(1), [{ fd: 1 }]);
    });
    expect(error.code).toBe('KEEPER_LOST');
    expect(lost).toHaveLength(1);
  });

  it('is no socket is refused', () => {
    const before = openFds().size;
    expect(thrown(() => new KeeperLink(native, native.eventfd())).code).toBe('KEEPER_LOST');
    expect(openFds().size).toBe(before);
  });
});

describe('A message', () => {
  const good: KeeperMessage[] = [
    { type: 'hello', version: 1 },
    { type: 'memory', ids: [1, 2] },
    { type: 'function', address: ADDRESS, backend: 'uio', position: 0 },
    { type: 'release', number: 7, address: ADDRESS },
  ];
  it.each(good)('$type is read as it was written', (message) => {
    const bytes = encodeMessage(message);
    expect(lengthOf(bytes)).toBe(bytes.length - 4);
    expect(decodeMessage(bytes.subarray(4))).toEqual(message);
  });

  it.each([
    '',
    'null',
    '[]',
    '{"type":"nothing"}',
    '{"type":"toString"}',
    '{"type":"memory"}',
    '{"type":"memory","ids":[]}',
    '{"type":"memory","ids":[-1]}',
    '{"type":"function","address":"../x","backend":"uio","position":0}',
    '{"type":"function","address":"0000:01:00.0","backend":"x","position":0}',
  ])('%s is refused', (text) => {
    expect(thrown(() => decodeMessage(Buffer.from(text))).code).toBe('KEEPER_PROTOCOL');
  });

  it('of an impossible length is refused before it is read', () => {
    for (const length of [0, 1, 100_000, 0xffff_ffff]) {
      expect(thrown(() => lengthOf(new Uint8Array(Uint32Array.of(length).buffer))).code).toBe('KEEPER_PROTOCOL');
    }
  });
});
