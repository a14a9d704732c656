/** The back end against a front end that says anything: each message's checks, one by one (vhost-user.rst). */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { MemoryTable } from '../../lib/vhost-user/memory.ts';
import { loadNative } from '../../native/index.ts';
import { backEnds, type World } from '../fakes/back-end.ts';
import { countFds } from '../fakes/fds.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { waitFor } from '../fakes/netns.ts';
import {
  address,
  bytesOf,
  GPA,
  ID,
  LOG_ALL,
  PACKED,
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

const native = loadNative();
const inFolder = temporaryFolder();
const world = backEnds(native, inFolder);

const u64 = (bytes: Uint8Array | undefined): bigint =>
  new DataView(bytes!.buffer, bytes!.byteOffset).getBigUint64(0, true);
const SIZE = 65_536n;

/** A front end whose ring 0 runs. */
async function running(w: World, features = VERSION_1 | PROTOCOL_FEATURES, protocol = PROTOCOL & ~(1n << 16n)) {
  const front = await w.ready(features, protocol);
  const shared = w.shared();
  await tellMemory(front, shared);
  const fds = await tellRing(front, 0);
  await front.done(ID.SET_VRING_ENABLE, words(0, 1));
  expect([...w.owner.running.keys()]).toEqual([0]);
  return { front, shared, ...fds };
}

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
