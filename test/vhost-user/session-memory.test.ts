/** The back end against a front end that says anything, message by message (vhost-user.rst): memory tables and the log, and memory that shrinks. */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { MemoryTable } from '../../lib/vhost-user/memory.ts';
import { running, SIZE, sessions, u64 } from '../fakes/back-end-session.ts';
import { countFds } from '../fakes/fds.ts';
import { waitFor } from '../fakes/netns.ts';
import {
  address,
  GPA,
  ID,
  LOG_ALL,
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

const { inFolder, world } = sessions();

describe('SET_MEM_TABLE', () => {
  const bad: [string, Uint8Array, number][] = [
    ['no regions', words(0, 0), 0],
    [
      'nine regions',
      table(...Array.from({ length: 9 }, (_, i) => region(BigInt(i) << 20n, SIZE, BigInt(i) << 20n))),
      8,
    ],
    ['more regions than it has', Buffer.concat([words(2, 0), region(GPA, SIZE, UVA)]), 2],
    ['fewer regions than it has', Buffer.concat([words(1, 0), region(GPA, SIZE, UVA), region(0n, SIZE, 0n)]), 1],
    ['2^32 - 1 regions', Buffer.concat([words(0xffff_ffff, 0), region(GPA, SIZE, UVA)]), 1],
    ['padding that is not 0', Buffer.concat([words(1, 7), region(GPA, SIZE, UVA)]), 1],
    ['a payload that ends in the middle of a region', words(1, 0, GPA, SIZE, UVA), 1],
    ['a region of 0 bytes', table(region(GPA, 0n, UVA)), 1],
    ['guest addresses that wrap around', table(region(2n ** 64n - 4096n, SIZE, UVA)), 1],
    ['guest addresses above 2^53', table(region(2n ** 53n, SIZE, UVA)), 1],
    ['user addresses that wrap around', table(region(GPA, SIZE, 2n ** 64n - 4096n)), 1],
    ['a file offset that wraps around', table(region(GPA, SIZE, UVA, 2n ** 64n - 4096n)), 1],
    ['a size of 2^64 - 4096', table(region(GPA, 2n ** 64n - 4096n, UVA)), 1],
    ['what is not whole pages', table(region(GPA + 8n, SIZE - 4096n, UVA)), 1],
    ['a size that is not whole pages', table(region(GPA, SIZE - 8n, UVA)), 1],
    ['a file that is too short', table(region(GPA, SIZE * 2n, UVA)), 1],
    ['an offset past the end of the file', table(region(GPA, SIZE, UVA, SIZE)), 1],
    ['regions that overlap in guest addresses', table(region(GPA, SIZE, UVA), region(GPA + 4096n, SIZE, 2n * UVA)), 2],
    ['regions that overlap in user addresses', table(region(GPA, SIZE, UVA), region(4n * GPA, SIZE, UVA + 4096n)), 2],
    ['fewer fds than regions', table(region(GPA, SIZE, UVA)), 0],
    ['more fds than regions', table(region(GPA, SIZE, UVA)), 2],
  ];

  it.each(bad)('refuses %s, and the rings go on over the old memory', async (_what, payload, fds) => {
    const w = world();
    const { front, shared } = await running(w);
    const before = w.owner.running.get(0);
    const used = w.memory.used;
    const count = countFds('memfd');
    expect(await front.acked(ID.SET_MEM_TABLE, payload, Array(fds).fill(shared.fd))).toBe(1n);
    expect(w.owner.running.get(0)).toBe(before);
    expect(w.memory.used).toBe(used);
    expect(countFds('memfd')).toBe(count);
    expect(w.owner.log.filter((entry) => entry.startsWith('stop'))).toEqual([]);
  });

  it('refuses a fd that is no file', async () => {
    const w = world();
    const front = await w.ready();
    for (const path of ['/dev/zero', '/proc/self'] as const) {
      const fd = openSync(path, 'r');
      expect(await front.acked(ID.SET_MEM_TABLE, table(region(GPA, SIZE, UVA)), [fd])).toBe(1n);
      closeSync(fd);
    }
    expect(await front.acked(ID.SET_MEM_TABLE, table(region(GPA, SIZE, UVA)), [w.eventfd()])).toBe(1n);
  });

  it('refuses a file that cannot be written to', async () => {
    const front = await world().ready();
    const path = inFolder('read-only');
    const writable = openSync(path, 'w');
    ftruncateSync(writable, 65_536);
    const fd = openSync(path, 'r');
    expect(await front.acked(ID.SET_MEM_TABLE, table(region(GPA, SIZE, UVA)), [fd])).toBe(1n);
    closeSync(fd);
    closeSync(writable);
  });

  it('gives rings what is in the memory, and its guest addresses', async () => {
    const w = world();
    const front = await w.ready(VERSION_1 | PROTOCOL_FEATURES, PROTOCOL & ~(1n << 16n));
    const shared = w.shared();
    shared.bytes[0x1000] = 77;
    await tellMemory(front, shared);
    await tellRing(front, 0);
    const { desc, driver, device, regions } = w.owner.running.get(0)!;
    const at = (place: { window: number; offset: number }) =>
      new Uint8Array(w.memory.windows[place.window])[place.offset];
    expect([at(driver), at(desc), at(device)]).toEqual([77, 0, 0]);
    expect(driver.offset - desc.offset).toBe(0x1000);
    expect(device.offset - desc.offset).toBe(0x2000);
    expect(regions).toEqual([{ window: desc.window, offset: desc.offset, gpa: Number(GPA), bytes: 65_536 }]);
    shared.bytes[0] = 3;
    expect(at(desc)).toBe(3);
  });

  it('changes under rings that run: they stand still, and go on where they were, elsewhere', async () => {
    const w = world();
    const { front } = await running(w);
    const old = w.owner.running.get(0)!;
    w.owner.bases.set(0, { avail: 4711, availWrap: true, used: 4711, usedWrap: true });
    const next = w.shared();
    next.bytes[0] = 9;
    w.owner.log.length = 0;
    await front.done(ID.SET_MEM_TABLE, table(region(GPA, SIZE, UVA)), [next.fd]);
    expect(w.owner.log).toEqual(['stop 0', 'start 0']);
    const now = w.owner.running.get(0)!;
    expect(now.base.avail).toBe(4711);
    expect(new Uint8Array(w.memory.windows[now.desc.window])[now.desc.offset]).toBe(9);
    expect(now.desc).not.toEqual(old.desc);
    expect(w.memory.used).toBe(65_536);
  });

  it('is refused when a ring that runs would not be in it', async () => {
    const w = world();
    const { front, shared } = await running(w);
    const before = w.owner.running.get(0);
    expect(await front.acked(ID.SET_MEM_TABLE, table(region(GPA, 4096n, UVA)), [shared.fd])).toBe(1n);
    expect(await front.acked(ID.SET_MEM_TABLE, table(region(GPA, SIZE, UVA + SIZE)), [shared.fd])).toBe(1n);
    expect(w.owner.running.get(0)).toBe(before);
  });

  it('is not mapped twice where it is the same as before', async () => {
    const w = world();
    const { front, shared } = await running(w);
    const { desc } = w.owner.running.get(0)!;
    await tellMemory(front, shared);
    expect(w.owner.running.get(0)?.desc).toEqual(desc);
    expect(w.memory.used).toBe(65_536);
  });

  it('is refused while a worker does not step back, and then the session ends without unmapping anything', async () => {
    const w = world();
    const { front } = await running(w);
    w.owner.stuck = new Error('worker 0 is stuck');
    const next = w.shared();
    expect(await front.acked(ID.SET_MEM_TABLE, table(region(GPA, SIZE, UVA)), [next.fd])).toBe('gone');
    expect(w.memory.used).toBe(65_536);
    expect(w.owner.log.at(-1)).not.toContain('disconnected');
    w.owner.stuck = undefined;
    await waitFor('the rings are given up', () => w.owner.log.at(-1)?.startsWith('disconnected') === true);
    expect(w.memory.used).toBe(0);
  });
});

describe('ADD_MEM_REG, REM_MEM_REG and GET_MAX_MEM_SLOTS', () => {
  const single = (gpa: bigint, bytes: bigint, uva: bigint) => Buffer.concat([words(0n), region(gpa, bytes, uva)]);

  it('add and remove one region after the other', async () => {
    const w = world();
    const front = await w.ready();
    expect(u64((await front.ask(ID.GET_MAX_MEM_SLOTS))?.payload)).toBe(256n);
    const shared = w.shared();
    await front.done(ID.ADD_MEM_REG, single(GPA, SIZE, UVA), [shared.fd]);
    await front.done(ID.ADD_MEM_REG, single(GPA * 16n, SIZE, UVA * 2n), [w.shared().fd]);
    expect(w.memory.used).toBe(131_072);
    await front.done(ID.REM_MEM_REG, single(GPA * 16n, SIZE, UVA * 2n));
    expect(w.memory.used).toBe(65_536);
    // An fd that comes with it is closed unused.
    await front.done(ID.REM_MEM_REG, single(GPA, SIZE, UVA), [shared.fd]);
    expect(w.memory.used).toBe(0);
  });

  it('refuse an overlap, a region that is not there to be removed, and a wrong count of fds', async () => {
    const w = world();
    const front = await w.ready();
    const { fd } = w.shared();
    await front.done(ID.ADD_MEM_REG, single(GPA, SIZE, UVA), [fd]);
    expect(await front.acked(ID.ADD_MEM_REG, single(GPA, SIZE, UVA), [fd])).toBe(1n);
    expect(await front.acked(ID.ADD_MEM_REG, single(GPA * 2n, SIZE, UVA), [fd])).toBe(1n);
    expect(await front.acked(ID.ADD_MEM_REG, single(GPA * 2n, SIZE, UVA * 2n))).toBe(1n);
    expect(await front.acked(ID.ADD_MEM_REG, single(GPA * 2n, SIZE, UVA * 2n), [fd, fd])).toBe(1n);
    for (const wrong of [single(GPA, SIZE, UVA + 4096n), single(GPA + 4096n, SIZE, UVA), single(GPA, 4096n, UVA)])
      expect(await front.acked(ID.REM_MEM_REG, wrong)).toBe(1n);
    expect(await front.acked(ID.REM_MEM_REG, single(GPA, SIZE, UVA), [fd, fd])).toBe(1n);
    expect(w.memory.used).toBe(65_536);
  });

  it('refuse to remove a region in which a ring runs', async () => {
    const w = world();
    const { front } = await running(w);
    const before = w.owner.running.get(0);
    expect(await front.acked(ID.REM_MEM_REG, single(GPA, SIZE, UVA))).toBe(1n);
    expect(w.owner.running.get(0)).toBe(before);
  });
});

describe('SET_LOG_BASE and SET_LOG_FD', () => {
  it('map a log that rings get while LOG_ALL is negotiated', async () => {
    const w = world();
    const { front } = await running(w);
    const log = w.shared(4096);
    const reply = await front.ask(ID.SET_LOG_BASE, words(4096n, 0n), [log.fd]);
    expect(reply).toMatchObject({ id: 6, flags: 5 });
    expect(w.owner.running.get(0)?.log).toBeUndefined();
    await front.done(ID.SET_FEATURES, words(VERSION_1 | PROTOCOL_FEATURES | LOG_ALL));
    const area = w.owner.running.get(0)?.log;
    expect(area?.bytes).toBe(4096);
    new Uint8Array(w.memory.windows[area!.window])[area!.offset] = 5;
    expect(log.bytes[0]).toBe(5);
    expect(w.owner.running.get(0)?.logAddress).toBe(-1);
    await front.done(ID.SET_VRING_ADDR, address(0, 1, UVA, GPA + 0x2000n));
    expect(w.owner.running.get(0)?.logAddress).toBe(Number(GPA) + 0x2000);
  });

  it('refuses an address for the used ring that is outside the log', async () => {
    const w = world();
    const { front } = await running(w);
    await front.ask(ID.SET_LOG_BASE, words(4096n, 0n), [w.shared(4096).fd]);
    await front.done(ID.SET_FEATURES, words(VERSION_1 | PROTOCOL_FEATURES | LOG_ALL));
    for (const log of [4096n * 4096n * 8n, 2n ** 63n, 2n ** 64n - 1n])
      expect(await front.acked(ID.SET_VRING_ADDR, address(0, 1, UVA, log))).toBe(1n);
  });

  it.each([
    ['0 bytes', words(0n, 0n)],
    ['more than the file has', words(8192n, 0n)],
    ['an offset past the end', words(4096n, 4096n)],
    ['less than the memory needs', words(1n, 0n)],
  ])('refuses %s', async (_what, payload) => {
    const w = world();
    const { front } = await running(w);
    expect(await front.ask(ID.SET_LOG_BASE, payload, [w.shared(4096).fd])).toBeUndefined();
  });

  it('CVE-2020-10722: a range that wraps around is refused before anything is mapped', async () => {
    for (const payload of [
      words(2n ** 64n - 4096n, 8192n),
      words(8192n, 2n ** 64n - 4096n),
      words(2n ** 63n, 2n ** 63n),
    ]) {
      const w = world();
      const { front } = await running(w);
      const used = w.memory.used;
      expect(await front.ask(ID.SET_LOG_BASE, payload, [w.shared(4096).fd])).toBeUndefined();
      expect(w.memory.used).toBeLessThanOrEqual(used);
    }
  });

  it('keeps one log fd, and closes it', async () => {
    const w = world();
    const front = await w.ready();
    const fd = w.eventfd();
    const before = countFds('eventfd');
    for (let i = 0; i < 10; i++) await front.done(ID.SET_LOG_FD, undefined, [fd]);
    expect(countFds('eventfd')).toBe(before + 1);
    expect(await front.acked(ID.SET_LOG_FD, undefined, [w.shared().fd])).toBe(1n);
    expect(await front.acked(ID.SET_LOG_FD)).toBe(1n);
  });
});

describe('memory that its owner makes shorter', () => {
  it('does not end the process: zeros are read, the session ends with the reason within 100 ms, the next is served', async () => {
    const w = world();
    const front = await w.ready(VERSION_1 | PROTOCOL_FEATURES, PROTOCOL & ~(1n << 16n));
    const path = inFolder('shrinks');
    const fd = openSync(path, 'w+');
    ftruncateSync(fd, 65_536);
    writeSync(fd, Buffer.alloc(65_536, 7));
    await front.done(ID.SET_MEM_TABLE, table(region(GPA, SIZE, UVA)), [fd]);
    await tellRing(front, 0);
    const { desc } = w.owner.running.get(0)!;
    const bytes = new Uint8Array(w.memory.windows[desc.window], desc.offset, 65_536);
    expect(bytes[4096]).toBe(7);
    ftruncateSync(fd, 0);
    const start = performance.now();
    expect(bytes[4096]).toBe(0);
    bytes[8192] = 1;
    await waitFor('it is told', () => w.owner.log.at(-1)?.startsWith('disconnected') === true);
    expect(performance.now() - start).toBeLessThan(100);
    expect(w.owner.log.at(-1)).toContain('shorter');
    closeSync(fd);
    const next = await w.ready();
    expect(u64((await next.ask(ID.GET_QUEUE_NUM))?.payload)).toBe(1n);
  });
});

describe('a memory table', () => {
  it('of nothing translates nothing', () => {
    expect(new MemoryTable().translate(UVA, 1)).toBeUndefined();
    expect(new MemoryTable().end).toBe(0);
  });
});
