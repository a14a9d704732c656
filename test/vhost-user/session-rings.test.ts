/** The back end against a front end that says anything, message by message (vhost-user.rst): rings. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { running, SIZE, sessions } from '../fakes/back-end-session.ts';
import { countFds } from '../fakes/fds.ts';
import {
  address,
  GPA,
  ID,
  PACKED,
  PROTOCOL,
  PROTOCOL_FEATURES,
  region,
  table,
  tellMemory,
  tellRing,
  UVA,
  VERSION_1,
  words,
} from '../fakes/raw-front-end.ts';

const { native, inFolder, world } = sessions();

describe('SET_VRING_NUM', () => {
  it.each([0, 3, 255, 32_769, 65_536, 65_537, 2 ** 32 - 1])('refuses %i descriptors of a split ring', async (num) => {
    expect(await (await world().ready()).acked(ID.SET_VRING_NUM, words(0, num))).toBe(1n);
  });

  it.each([1, 2, 256, 32_768])('takes %i', async (num) => {
    expect(await (await world().ready()).acked(ID.SET_VRING_NUM, words(0, num))).toBe(0n);
  });

  it('takes any size up to 32768 of a packed ring', async () => {
    const front = await world().ready(VERSION_1 | PROTOCOL_FEATURES | PACKED);
    expect(await front.acked(ID.SET_VRING_NUM, words(0, 3))).toBe(0n);
    expect(await front.acked(ID.SET_VRING_NUM, words(0, 32_769))).toBe(1n);
    expect(await front.acked(ID.SET_VRING_NUM, words(0, 0))).toBe(1n);
  });

  it('refuses a ring that runs', async () => {
    const { front } = await running(world());
    expect(await front.acked(ID.SET_VRING_NUM, words(0, 128))).toBe(1n);
  });

  it('with an odd size told before packed rings were not negotiated, the ring does not start', async () => {
    const w = world();
    const front = await w.ready(VERSION_1 | PROTOCOL_FEATURES | PACKED, PROTOCOL & ~(1n << 16n));
    await tellMemory(front, w.shared());
    await front.done(ID.SET_VRING_NUM, words(0, 3));
    await front.done(ID.SET_FEATURES, words(VERSION_1 | PROTOCOL_FEATURES));
    await front.done(ID.SET_VRING_ADDR, address(0));
    expect(await front.acked(ID.SET_VRING_KICK, words(0n), [front.eventfd()])).toBe(1n);
    expect(w.owner.running.size).toBe(0);
  });
});

describe('SET_VRING_ADDR', () => {
  async function sized(size = 256, features = VERSION_1 | PROTOCOL_FEATURES) {
    const w = world();
    const front = await w.ready(features);
    await tellMemory(front, w.shared());
    await front.done(ID.SET_VRING_NUM, words(0, size));
    return front;
  }
  const addr = (desc: bigint, used: bigint, avail: bigint, flags = 0) => words(0, flags, desc, used, avail, 0n);
  const END = UVA + SIZE;

  it.each([
    ['unknown flags', address(0, 2)],
    ['a descriptor table that is not aligned to 16', addr(UVA + 8n, UVA + 0x2000n, UVA + 0x1800n)],
    ['an available ring that is not aligned to 2', addr(UVA, UVA + 0x2000n, UVA + 0x1001n)],
    ['a used ring that is not aligned to 4', addr(UVA, UVA + 0x2002n, UVA + 0x1000n)],
    ['a descriptor table before the memory', addr(UVA - 16n, UVA + 0x2000n, UVA + 0x1000n)],
    ['a descriptor table that ends behind the memory', addr(END - 4080n, UVA + 0x2000n, UVA + 0x1000n)],
    ['an available ring that ends behind it', addr(UVA, UVA + 0x2000n, END - 516n)],
    ['a used ring that ends behind it', addr(UVA, END - 2052n, UVA + 0x1000n)],
    ['addresses near 2^64', addr(2n ** 64n - 16n, UVA + 0x2000n, UVA + 0x1000n)],
    ['guest addresses', addr(GPA, GPA + 0x2000n, GPA + 0x1000n)],
    ['a used ring inside the descriptor table', addr(UVA, UVA + 0x800n, UVA + 0x2000n)],
    ['an available ring inside the used ring', addr(UVA, UVA + 0x1000n, UVA + 0x1100n)],
  ])('refuses %s', async (_what, payload) => {
    expect(await (await sized()).acked(ID.SET_VRING_ADDR, payload)).toBe(1n);
  });

  it('takes rings that just fit', async () => {
    const front = await sized();
    expect(await front.acked(ID.SET_VRING_ADDR, addr(END - 4096n, UVA, UVA + 0x1000n))).toBe(0n);
    expect(await front.acked(ID.SET_VRING_ADDR, addr(UVA, END - 2056n, UVA + 0x1000n))).toBe(0n);
    expect(await front.acked(ID.SET_VRING_ADDR, addr(UVA, UVA + 0x2000n, END - 518n))).toBe(0n);
  });

  it('of a packed ring: 16, 4 and 4', async () => {
    const front = await sized(256, VERSION_1 | PROTOCOL_FEATURES | PACKED);
    expect(await front.acked(ID.SET_VRING_ADDR, addr(UVA, UVA + 0x1002n, UVA + 0x1010n))).toBe(1n);
    expect(await front.acked(ID.SET_VRING_ADDR, addr(UVA, UVA + 0x1000n, UVA + 0x1012n))).toBe(1n);
    expect(await front.acked(ID.SET_VRING_ADDR, addr(UVA, END - 4n, UVA + 0x1000n))).toBe(0n);
  });

  it('is refused before the size is known, and across two regions (CVE-2018-1059)', async () => {
    const w = world();
    const front = await w.ready();
    expect(await front.acked(ID.SET_VRING_ADDR, address(0))).toBe(1n);
    const two = table(region(GPA, 4096n, UVA), region(GPA * 2n, SIZE - 4096n, UVA + 4096n, 4096n));
    const { fd } = w.shared();
    await front.done(ID.SET_MEM_TABLE, two, [fd, fd]);
    await front.done(ID.SET_VRING_NUM, words(0, 512));
    expect(await front.acked(ID.SET_VRING_ADDR, addr(UVA, UVA + 0x4000n, UVA + 0x3000n))).toBe(1n);
    expect(await front.acked(ID.SET_VRING_ADDR, addr(UVA + 4096n, UVA + 0x4000n, UVA + 0x3000n))).toBe(0n);
  });

  it('moves a ring that runs, which goes on where it was', async () => {
    const w = world();
    const { front } = await running(w);
    const { desc } = w.owner.running.get(0)!;
    w.owner.bases.set(0, { avail: 9, availWrap: true, used: 9, usedWrap: true });
    await front.done(ID.SET_VRING_ADDR, address(0, 0, UVA + 0x8000n));
    expect(w.owner.running.get(0)?.desc.offset).toBe(desc.offset + 0x8000);
    expect(w.owner.running.get(0)?.base.avail).toBe(9);
  });
});

describe('SET_VRING_BASE and GET_VRING_BASE', () => {
  it('refuse a split index above 65535 and a ring that runs', async () => {
    const { front } = await running(world({ pairs: 2 }));
    expect(await front.acked(ID.SET_VRING_BASE, words(1, 65_536))).toBe(1n);
    expect(await front.acked(ID.SET_VRING_BASE, words(1, 65_535))).toBe(0n);
    expect(await front.acked(ID.SET_VRING_BASE, words(0, 0))).toBe(1n);
  });

  it('of packed rings have two indices with wrap counters, each inside the ring', async () => {
    const w = world();
    const front = await w.ready(VERSION_1 | PROTOCOL_FEATURES | PACKED, PROTOCOL & ~(1n << 16n));
    await front.done(ID.SET_VRING_NUM, words(0, 100));
    for (const wrong of [100, 0x8064, 0x0064_0000, 0x7fff_ffff])
      expect(await front.acked(ID.SET_VRING_BASE, words(0, wrong))).toBe(1n);
    await front.done(ID.SET_VRING_BASE, words(0, 0x0005_8007));
    await tellMemory(front, w.shared());
    await front.done(ID.SET_VRING_ADDR, address(0));
    await front.done(ID.SET_VRING_KICK, words(0x100n));
    const base = { avail: 7, availWrap: true, used: 5, usedWrap: false };
    expect(w.owner.running.get(0)?.base).toEqual(base);
    w.owner.bases.set(0, { avail: 99, availWrap: false, used: 98, usedWrap: true });
    const reply = await front.ask(ID.GET_VRING_BASE, words(0, 0));
    expect([...new Uint32Array(reply!.payload.buffer)]).toEqual([0, 0x8062_0063]);
  });

  it('of packed rings take the half that is not told from the other', async () => {
    const w = world();
    const front = await w.ready(VERSION_1 | PROTOCOL_FEATURES | PACKED);
    await front.done(ID.SET_VRING_BASE, words(0, 0x8000));
    const reply = await front.ask(ID.GET_VRING_BASE, words(0, 0));
    expect([...new Uint32Array(reply!.payload.buffer)]).toEqual([0, 0x8000_8000]);
  });

  it('stop the ring, close its eventfds, and say where it stood', async () => {
    const w = world();
    const { front } = await running(w);
    w.owner.bases.set(0, { avail: 1234, availWrap: true, used: 1234, usedWrap: true });
    const before = countFds('eventfd');
    const reply = await front.ask(ID.GET_VRING_BASE, words(0, 99));
    expect([...new Uint32Array(reply!.payload.buffer)]).toEqual([0, 1234]);
    expect(w.owner.running.size).toBe(0);
    expect(countFds('eventfd')).toBe(before - 2);
    // It starts with the next kick fd, and not before.
    await front.done(ID.SET_VRING_ENABLE, words(0, 1));
    expect(w.owner.running.size).toBe(0);
    await front.done(ID.SET_VRING_KICK, words(0n), [front.eventfd()]);
    expect(w.owner.running.get(0)?.base.avail).toBe(1234);
  });

  it('work for a queue that was never set up (what crashed DPDK before 3c929a0bb3)', async () => {
    const front = await world({ pairs: 2 }).ready();
    for (const index of [0, 1, 2, 3]) {
      const reply = await front.ask(ID.GET_VRING_BASE, words(index, 0));
      expect([...new Uint32Array(reply!.payload.buffer)]).toEqual([index, 0]);
    }
  });
});

describe('SET_VRING_KICK, CALL and ERR', () => {
  const messages = [ID.SET_VRING_KICK, ID.SET_VRING_CALL, ID.SET_VRING_ERR];

  it.each(messages)('message %i refuses fds that do not agree with bit 8, and other bits', async (id) => {
    const w = world();
    const front = await w.ready();
    const fd = w.eventfd();
    const before = countFds('eventfd');
    expect(await front.acked(id, words(0n))).toBe(1n);
    expect(await front.acked(id, words(0n), [fd, fd])).toBe(1n);
    expect(await front.acked(id, words(0x100n), [fd])).toBe(1n);
    for (const bit of [9n, 16n, 32n, 63n]) expect(await front.acked(id, words(1n << bit), [fd])).toBe(1n);
    expect(countFds('eventfd')).toBe(before);
    expect(await front.acked(id, words(0x100n))).toBe(0n);
    expect(await front.acked(id, words(0n), [fd])).toBe(0n);
  });

  it.each(messages)('message %i refuses what is neither an eventfd nor a pipe', async (id) => {
    const w = world();
    const front = await w.ready();
    const path = inFolder(`file-${id}`);
    const file = openSync(path, 'w+');
    expect(await front.acked(id, words(0n), [file])).toBe(1n);
    closeSync(file);
    expect(await front.acked(id, words(0n), [w.shared().fd])).toBe(1n);
  });

  it.each(messages)('message %i, a thousand times, keeps one fd', async (id) => {
    const w = world();
    const front = await w.ready();
    const fd = w.eventfd();
    const before = countFds('eventfd');
    for (let i = 0; i < 1000; i++) await front.done(id, words(0n), [fd]);
    expect(countFds('eventfd')).toBe(before + 1);
    await front.done(id, words(0x100n));
    expect(countFds('eventfd')).toBe(before);
  });

  it('a call fd changes under a ring that runs without stopping it', async () => {
    const w = world();
    const { front } = await running(w);
    const { call } = w.owner.running.get(0)!;
    const next = w.eventfd();
    w.owner.log.length = 0;
    await front.done(ID.SET_VRING_CALL, words(0n), [next]);
    expect(w.owner.log).toEqual([]);
    native.notify(call);
    const count = new Uint8Array(8);
    expect(native.epollWait).toBeTypeOf('function');
    const { readSync } = await import('node:fs');
    readSync(next, count);
    expect(count[0]).toBe(1);
  });

  it('a call fd that goes, or a kick fd that changes, starts the ring anew', async () => {
    const w = world();
    const { front } = await running(w);
    w.owner.log.length = 0;
    await front.done(ID.SET_VRING_CALL, words(0x100n));
    expect(w.owner.running.get(0)?.call).toBe(-1);
    await front.done(ID.SET_VRING_KICK, words(0x100n));
    expect(w.owner.running.get(0)?.kick).toBe(-1);
    expect(w.owner.log).toEqual(['stop 0', 'start 0', 'stop 0', 'start 0']);
  });

  it('a call never waits: the eventfd is made non-blocking, and a full one is as good as a signal', async () => {
    const w = world();
    const { front, call } = await running(w);
    // Full: one more would wait for a reader.
    writeSync(call, words(2n ** 64n - 2n));
    const ours = w.owner.running.get(0)!.call;
    const start = performance.now();
    native.notify(ours);
    expect(performance.now() - start).toBeLessThan(100);
    expect(front.ended).toBe(false);
  });
});

describe('ring indices', () => {
  const state = (index: number) => words(index, 1);
  it.each([2, 3, 128, 255, 256, 257, 65_536, 65_538, 2 ** 31, 2 ** 32 - 2, 2 ** 32 - 1])(
    'CVE-2020-10723: ring %i of 2 is refused in all its 32 bits',
    async (index) => {
      const w = world();
      const front = await w.ready();
      for (const id of [ID.SET_VRING_NUM, ID.SET_VRING_BASE, ID.SET_VRING_ENABLE])
        expect(await front.acked(id, state(index))).toBe(1n);
      expect(await front.acked(ID.SET_VRING_ADDR, address(index))).toBe(1n);
      if (index < 256)
        for (const id of [ID.SET_VRING_KICK, ID.SET_VRING_CALL, ID.SET_VRING_ERR])
          expect(await front.acked(id, words(BigInt(index)), [w.eventfd()])).toBe(1n);
      expect(await front.ask(ID.GET_VRING_BASE, state(index))).toBeUndefined();
    },
  );
});

describe('SET_VRING_ENABLE', () => {
  it('takes 0 and 1', async () => {
    const w = world();
    const { front } = await running(w);
    w.owner.log.length = 0;
    expect(await front.acked(ID.SET_VRING_ENABLE, words(0, 2))).toBe(1n);
    expect(await front.acked(ID.SET_VRING_ENABLE, words(0, 0))).toBe(0n);
    expect(await front.acked(ID.SET_VRING_ENABLE, words(0, 1))).toBe(0n);
    expect(w.owner.log).toEqual(['enable 0 off', 'enable 0 on']);
  });

  it('is remembered while the ring is stopped', async () => {
    const w = world();
    const front = await w.ready(VERSION_1 | PROTOCOL_FEATURES, PROTOCOL & ~(1n << 16n));
    await front.done(ID.SET_VRING_ENABLE, words(1, 1));
    await tellMemory(front, w.shared());
    await tellRing(front, 1);
    expect(w.owner.running.get(1)?.enabled).toBe(true);
  });
});
