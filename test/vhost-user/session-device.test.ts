/** The back end against a front end that says anything, message by message (vhost-user.rst): the device: its configuration, status, and what it has under way. */
import { closeSync, ftruncateSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { running, SIZE, sessions, u64 } from '../fakes/back-end-session.ts';
import { countFds } from '../fakes/fds.ts';
import {
  bytesOf,
  ID,
  PACKED,
  PROTOCOL,
  PROTOCOL_FEATURES,
  tellMemory,
  tellRing,
  VERSION_1,
  words,
} from '../fakes/raw-front-end.ts';

const { native, world } = sessions();

describe('SEND_RARP and NET_SET_MTU', () => {
  it('tell the driver', async () => {
    const w = world();
    const front = await w.ready();
    await front.done(ID.SEND_RARP, words(0x0605_0403_0202n));
    await front.done(ID.NET_SET_MTU, words(9000n));
    expect(w.owner.log.slice(1)).toEqual(['rarp 020203040506', 'mtu 9000']);
  });

  it.each([0n, 67n, 65_536n, 2n ** 32n + 1500n, 2n ** 64n - 1n])('refuse MTU %s', async (mtu) => {
    const w = world();
    expect(await (await w.ready()).acked(ID.NET_SET_MTU, words(mtu))).toBe(1n);
    expect(w.owner.log).toHaveLength(1);
  });
});

describe('SET_BACKEND_REQ_FD', () => {
  it('is where a changed configuration is told, without waiting for anybody', async () => {
    const w = world();
    const front = await w.ready();
    const [ours, theirs] = native.socketPair();
    await front.done(ID.SET_BACKEND_REQ_FD, undefined, [theirs]);
    closeSync(theirs);
    const start = performance.now();
    // Nobody reads: after the socket is full nothing more is told, and nothing waits.
    for (let i = 0; i < 100_000; i++) w.backEnd.configChanged();
    expect(performance.now() - start).toBeLessThan(5000);
    expect(u64((await front.ask(ID.GET_FEATURES))?.payload)).toBeGreaterThan(0n);
    const socket = new native.UnixSocket(ours);
    const bytes = new Uint8Array(12);
    expect(socket.receive(bytes, new Int32Array(8))).toBe(12);
    expect([...new Uint32Array(bytes.buffer)]).toEqual([2, 1, 0]);
    socket.close();
  });

  it('refuses what is no socket, and keeps one', async () => {
    const w = world();
    const front = await w.ready();
    expect(await front.acked(ID.SET_BACKEND_REQ_FD, undefined, [w.eventfd()])).toBe(1n);
    const [a, b] = native.socketPair();
    const before = countFds('socket:');
    for (let i = 0; i < 100; i++) await front.done(ID.SET_BACKEND_REQ_FD, undefined, [b]);
    expect(countFds('socket:')).toBe(before + 1);
    for (const fd of [a, b]) closeSync(fd);
  });
});

describe('GET_CONFIG and SET_CONFIG', () => {
  const ask = (offset: number, size: number, flags = 0, bytes = size) =>
    Buffer.concat([words(offset, size, flags), new Uint8Array(bytes)]);

  it('B7: can be read before features are accepted', async () => {
    const w = world();
    w.owner.bytes = Uint8Array.from({ length: 24 }, (_, i) => i + 1);
    const front = await w.front();
    await front.send(bytesOf(ID.SET_PROTOCOL_FEATURES, words(PROTOCOL)));
    const reply = await front.ask(ID.GET_CONFIG, ask(0, 6));
    expect([...reply!.payload.subarray(12)]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('give a part of the configuration, and zeros beyond it', async () => {
    const w = world();
    w.owner.bytes = Uint8Array.from({ length: 24 }, (_, i) => i + 1);
    const front = await w.ready();
    const reply = await front.ask(ID.GET_CONFIG, ask(20, 8));
    expect([...reply!.payload]).toEqual([20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 21, 22, 23, 24, 0, 0, 0, 0]);
  });

  it.each([
    ['a size that is not what comes', ask(0, 8, 0, 4)],
    ['what ends behind 256', ask(250, 8)],
    ['an offset that wraps around', ask(2 ** 32 - 4, 8)],
    ['nothing', ask(0, 0)],
  ])('answer %s with no bytes', async (_what, payload) => {
    const front = await world().ready();
    expect(await front.ask(ID.GET_CONFIG, payload)).toMatchObject({ id: 24, payload: new Uint8Array(0) });
    expect(u64((await front.ask(ID.GET_FEATURES))?.payload)).toBeGreaterThan(0n);
  });

  it('CVE-2020-10724: a payload longer than its buffer is refused before it is read', async () => {
    const front = await world().ready();
    expect(await front.ask(ID.GET_CONFIG, ask(0, 257))).toMatchObject({ payload: new Uint8Array(0) });
    await front.send(words(ID.GET_CONFIG, 1, 2 ** 32 - 1));
    expect(await front.reply()).toBeUndefined();
  });

  it('are not written to', async () => {
    const front = await world().ready();
    for (const flags of [0, 1, 2]) expect(await front.acked(ID.SET_CONFIG, ask(0, 6, flags))).toBe(1n);
  });
});

describe('GET_INFLIGHT_FD and SET_INFLIGHT_FD', () => {
  const describeArea = (bytes: bigint, offset: bigint, queues: number, size: number) =>
    words(bytes, offset, queues | (size << 16), 0);

  it('give a sealed area, one at a time, which rings get', async () => {
    const w = world();
    const front = await w.ready(VERSION_1 | PROTOCOL_FEATURES, PROTOCOL & ~(1n << 16n));
    const reply = await front.ask(ID.GET_INFLIGHT_FD, describeArea(0n, 0n, 2, 256));
    const [fd] = reply!.fds;
    const view = new DataView(reply!.payload.buffer);
    expect(view.getBigUint64(0, true)).toBe(2n * 4160n); // 16 + 16 * 256, in 64s
    expect([view.getUint16(16, true), view.getUint16(18, true)]).toEqual([2, 256]);
    expect(native.fileSeals(fd!) & 2).toBe(2);
    expect(() => ftruncateSync(fd!, 0)).toThrow('EPERM');
    await tellMemory(front, w.shared());
    await tellRing(front, 1);
    const { inflight } = w.owner.running.get(1)!;
    new Uint8Array(w.memory.windows[inflight!.window])[inflight!.offset] = 42;
    await front.done(ID.SET_INFLIGHT_FD, reply!.payload, [fd!]);
    const after = w.owner.running.get(1)!.inflight!;
    expect(new Uint8Array(w.memory.windows[after.window])[after.offset]).toBe(42);
    closeSync(fd!);
  });

  it.each([
    ['no queues', 0, 256],
    ['more queues than there are', 3, 256],
    ['65535 queues', 65_535, 256],
    ['no descriptors', 2, 0],
    ['too many descriptors', 2, 32_769],
  ])('CVE-2021-3839: refuse %s', async (_what, queues, size) => {
    const w = world();
    expect(
      await (await w.ready()).acked(ID.SET_INFLIGHT_FD, describeArea(SIZE, 0n, queues, size), [w.shared().fd]),
    ).toBe(1n);
    expect(await (await world().ready()).ask(ID.GET_INFLIGHT_FD, describeArea(0n, 0n, queues, size))).toBeUndefined();
  });

  it.each([
    ['less than the rings need', describeArea(100n, 0n, 2, 256)],
    ['more than the file has', describeArea(SIZE + 1n, 0n, 2, 256)],
    ['an offset past the end', describeArea(SIZE, 64n, 2, 256)],
    ['a range that wraps around', describeArea(2n ** 64n - 64n, 128n, 2, 256)],
    ['an offset that is not aligned', describeArea(9000n, 8n, 2, 256)],
  ])('refuse %s', async (_what, payload) => {
    const w = world();
    const front = await w.ready();
    expect(await front.acked(ID.SET_INFLIGHT_FD, payload, [w.shared().fd])).toBe(1n);
    expect(w.memory.used).toBe(0);
  });

  it.each([
    ['an unknown version', 8, 2],
    ['another number of descriptors', 10, 255],
    ['a last_batch_head outside', 12, 256],
    ['a next outside', 16 + 5 * 16 + 6, 65_535],
    ['a next outside in the second queue', 4160 + 16 + 255 * 16 + 6, 256],
  ])('look at every index: %s is refused', async (_what, at, value) => {
    const w = world();
    const front = await w.ready();
    const shared = w.shared();
    const view = new DataView(shared.bytes.buffer, shared.bytes.byteOffset);
    for (const queue of [0, 4160]) {
      view.setUint16(queue + 8, 1, true);
      view.setUint16(queue + 10, 256, true);
    }
    const payload = describeArea(SIZE, 0n, 2, 256);
    await front.done(ID.SET_INFLIGHT_FD, payload, [shared.fd]);
    view.setUint16(at, value, true);
    expect(await front.acked(ID.SET_INFLIGHT_FD, payload, [shared.fd])).toBe(1n);
  });

  it.each([
    ['free_head', 12, 101],
    ['old_free_head', 14, 101],
    ['used_idx', 16, 100],
    ['old_used_idx', 18, 100],
    ['next', 32 + 2, 101],
    ['last', 32 + 4, 100],
  ])('of packed rings look at %s', async (_what, at, value) => {
    const w = world();
    const front = await w.ready(VERSION_1 | PROTOCOL_FEATURES | PACKED);
    const shared = w.shared();
    const view = new DataView(shared.bytes.buffer, shared.bytes.byteOffset);
    view.setUint16(8, 1, true);
    view.setUint16(10, 100, true);
    const payload = describeArea(SIZE, 0n, 1, 100);
    await front.done(ID.SET_INFLIGHT_FD, payload, [shared.fd]);
    view.setUint16(at, value, true);
    expect(await front.acked(ID.SET_INFLIGHT_FD, payload, [shared.fd])).toBe(1n);
  });

  it('CVE-2020-10726: asked a thousand times, keep one mapping and no fd', async () => {
    const w = world();
    const front = await w.ready();
    const before = countFds('memfd');
    for (let i = 0; i < 1000; i++) {
      const reply = await front.ask(ID.GET_INFLIGHT_FD, describeArea(0n, 0n, 2, 256));
      closeSync(reply!.fds[0]!);
    }
    expect(countFds('memfd')).toBe(before);
    expect(w.memory.used).toBe(12_288);
  });

  it('CVE-2022-0669: fds that come where none belongs are closed', async () => {
    const w = world();
    const front = await w.ready();
    const fd = w.eventfd();
    const before = countFds('eventfd');
    for (let i = 0; i < 100; i++)
      expect(await front.acked(ID.SET_INFLIGHT_FD, describeArea(SIZE, 0n, 1, 1), [fd, fd, fd])).toBe(1n);
    expect(await front.ask(ID.GET_INFLIGHT_FD, describeArea(0n, 0n, 2, 256), [fd, fd])).toBeUndefined();
    expect(countFds('eventfd')).toBe(before);
  });
});

describe('RESET_DEVICE', () => {
  it('stops all, forgets what was said of rings, and keeps owner and memory', async () => {
    const w = world();
    const { front } = await running(w);
    await front.done(ID.RESET_DEVICE);
    expect(w.owner.running.size).toBe(0);
    expect(w.memory.used).toBe(65_536);
    expect(await front.acked(ID.SET_OWNER)).toBe(1n);
    await front.done(ID.SET_FEATURES, words(VERSION_1 | PROTOCOL_FEATURES | PACKED));
    await tellRing(front, 0, 100);
    expect(w.owner.running.get(0)).toMatchObject({ packed: true, enabled: false, size: 100 });
  });
});

describe('SET_STATUS and GET_STATUS', () => {
  it('no ring runs before DRIVER_OK', async () => {
    const w = world();
    const front = await w.ready();
    await tellMemory(front, w.shared());
    await tellRing(front, 0);
    expect(w.owner.running.size).toBe(0);
    for (const status of [1n, 3n, 11n]) await front.done(ID.SET_STATUS, words(status));
    expect(w.owner.running.size).toBe(0);
    await front.done(ID.SET_STATUS, words(15n));
    expect(w.owner.running.size).toBe(1);
    expect(u64((await front.ask(ID.GET_STATUS))?.payload)).toBe(15n);
  });

  it('0 is a reset', async () => {
    const w = world();
    const front = await w.ready();
    await front.done(ID.SET_STATUS, words(15n));
    await tellMemory(front, w.shared());
    await tellRing(front, 0);
    expect(w.owner.running.size).toBe(1);
    await front.done(ID.SET_STATUS, words(0n));
    expect(w.owner.running.size).toBe(0);
    expect(u64((await front.ask(ID.GET_STATUS))?.payload)).toBe(0n);
  });

  it('refuse bits that are taken back, unknown ones, and more than 8', async () => {
    const front = await world().ready();
    await front.done(ID.SET_STATUS, words(11n));
    for (const status of [3n, 1n, 8n, 27n, 256n, 2n ** 63n])
      expect(await front.acked(ID.SET_STATUS, words(status))).toBe(1n);
    expect(u64((await front.ask(ID.GET_STATUS))?.payload)).toBe(11n);
  });

  it('FEATURES_OK does not stay when no features were accepted', async () => {
    const w = world();
    const front = await w.front();
    await front.ask(ID.GET_FEATURES);
    await front.send(bytesOf(ID.SET_PROTOCOL_FEATURES, words(PROTOCOL)));
    await front.done(ID.SET_STATUS, words(11n));
    expect(u64((await front.ask(ID.GET_STATUS))?.payload)).toBe(3n);
  });

  it('B2: say DEVICE_NEEDS_RESET when a ring was given up, and tell of it', async () => {
    const w = world();
    const front = await w.ready();
    await front.done(ID.SET_STATUS, words(15n));
    w.backEnd.broken();
    expect(u64((await front.ask(ID.GET_STATUS))?.payload)).toBe(79n);
    await front.done(ID.SET_STATUS, words(0n));
    expect(u64((await front.ask(ID.GET_STATUS))?.payload)).toBe(0n);
  });
});

describe('other messages', () => {
  it.each([0, 22, 23, 26, 28, 33, 35, 41, 255, 2 ** 31, 2 ** 32 - 1])(
    '%i is refused, and its fds are closed',
    async (id) => {
      const w = world();
      const front = await w.ready();
      const fd = w.eventfd();
      const before = countFds('eventfd');
      expect(await front.acked(id, words(1n, 2n, 3n), [fd, fd])).toBe(1n);
      expect(countFds('eventfd')).toBe(before);
      // Nobody who wants to know: then the connection ends.
      await front.send(bytesOf(id));
      expect(await front.reply()).toBeUndefined();
    },
  );
});
