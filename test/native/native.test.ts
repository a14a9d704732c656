import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { constants, cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { getSystemErrorName } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { reserve } from '../../lib/arena/reserve.ts';
import { loadNative, type Native, syscallOf } from '../../native/index.ts';
import { countFds, openFds } from '../fakes/fds.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { testWith } from '../fakes/tools.ts';

const PAGE = 4096;
const HUGE_PAGE = 2 * 1024 * 1024;
const ADDON = JSON.stringify(fileURLToPath(new URL('../../build/Release/linecard.node', import.meta.url)));
const inFolder = temporaryFolder();

let native: Native;
let arena: Uint8Array;

beforeAll(() => {
  native = loadNative();
  arena = new Uint8Array(reserve(64 * 65_536).buffer);
});

/** What a failing call threw: its system call and the name of its error. */
function failure(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    const failed = syscallOf(error);
    if (failed === undefined) throw error;
    return `${failed.syscall} ${getSystemErrorName(failed.errno)}`;
  }
  throw new Error('it did not fail');
}

describe('mapMemory', () => {
  it('maps zeroed memory that the file and the arena share', () => {
    arena.fill(7, 0, 4 * PAGE);
    const fd = native.mapMemory(arena, PAGE, 2 * PAGE, false);
    expect(arena.subarray(0, 4 * PAGE).reduce((sum, byte) => sum + byte, 0)).toBe(7 * 2 * PAGE);
    arena[PAGE] = 42;
    const bytes = new Uint8Array(1);
    readSync(fd, bytes, 0, 1, 0);
    expect(bytes[0]).toBe(42);
    writeSync(fd, Uint8Array.of(43), 0, 1, PAGE);
    expect(arena[2 * PAGE]).toBe(43);
    native.unmap(arena, PAGE, 2 * PAGE);
    native.close(fd);
  });

  it('gives a file that can neither shrink nor grow: a peer that has it cannot take the memory away', () => {
    const fd = native.mapMemory(arena, 0, 2 * PAGE, false);
    expect(readlinkSync(`/proc/self/fd/${fd}`)).toMatch(/^\/memfd:linecard/);
    expect(fstatSync(fd).size).toBe(2 * PAGE);
    for (const size of [0, PAGE, 3 * PAGE]) expect(() => ftruncateSync(fd, size)).toThrow('EPERM');
    native.unmap(arena, 0, 2 * PAGE);
    native.close(fd);
  });

  it('gives memory that is there (no page is missing at first touch) and that a forked child does not share', () => {
    const fd = native.mapMemory(arena, 0, 16 * PAGE, false);
    expect(fstatSync(fd).blocks * 512).toBe(16 * PAGE);
    const smaps = readFileSync('/proc/self/smaps', 'utf8');
    const flags = /memfd:linecard[\s\S]*?VmFlags:(?<flags>[^\n]*)/.exec(smaps)?.groups?.flags;
    expect(flags?.trim().split(' ')).toContain('dc'); // VM_DONTCOPY
    native.unmap(arena, 0, 16 * PAGE);
    native.close(fd);
  });

  it('closes its file when it fails', () => {
    const before = countFds('memfd');
    // 2 MiB pages at an address that is not 2 MiB-aligned, or of which there are none.
    const odd = native.addressRemainder(arena, HUGE_PAGE) === 0 ? 65_536 : 0;
    expect(failure(() => native.mapMemory(arena, odd, HUGE_PAGE, true))).toMatch(/^(mmap EINVAL|fallocate EN\w+)$/);
    expect(countFds('memfd')).toBe(before);
  });

  it('refuses ranges that are not whole pages inside an arena', () => {
    const size = arena.length;
    const bad: [number, number][] = [
      [1, PAGE], [0, 1], [0, 0], [0, PAGE + 1], [size, PAGE], [size - PAGE, 2 * PAGE], [0, size + PAGE],
      [-PAGE, PAGE], [0, -PAGE], [Number.NaN, PAGE], [0, Number.NaN], [2 ** 53, PAGE], [0, 2 ** 53], [2 ** 64, PAGE], [0.5, PAGE],
    ]; // biome-ignore format: a table
    for (const [offset, length] of bad) {
      expect(() => native.mapMemory(arena, offset, length, false), `${offset} ${length}`).toThrow(RangeError);
      expect(() => native.mapFd(arena, offset, length, 0, 0, true), `${offset} ${length}`).toThrow(RangeError);
      expect(() => native.unmap(arena, offset, length), `${offset} ${length}`).toThrow(RangeError);
    }
  });

  it('takes shared memory only: an ordinary array could lie anywhere', () => {
    const page = Buffer.allocUnsafeSlow(64 * PAGE);
    const others = [
      page,
      new Uint8Array(64 * PAGE),
      new Int32Array(arena.buffer),
      new DataView(arena.buffer),
      arena.buffer,
      {},
      undefined,
    ];
    for (const other of others) {
      expect(() => native.unmap(other as Uint8Array, 0, PAGE)).toThrow('expected the arena as a Uint8Array');
    }
  });

  it('takes no part of an arena that does not begin on a page', () => {
    expect(() => native.unmap(arena.subarray(1), 0, PAGE)).toThrow('whole pages');
    native.unmap(arena.subarray(PAGE), 0, PAGE);
  });
});

describe('mapFd', () => {
  it('maps a part of a file, both ways', () => {
    const path = inFolder('mapped');
    writeFileSync(path, Buffer.concat([Buffer.alloc(PAGE, 1), Buffer.alloc(PAGE, 2)]));
    const fd = openSync(path, 'r+');
    native.mapFd(arena, 0, PAGE, fd, PAGE, true);
    closeSync(fd); // the mapping lives on
    expect(arena[0]).toBe(2);
    arena[0] = 9;
    expect(readFileSync(path)[PAGE]).toBe(9);
    native.unmap(arena, 0, PAGE);
    expect(arena[0]).toBe(0);
    expect(readFileSync(path)[PAGE]).toBe(9);
  });

  it('maps a file for reading that was opened for reading', () => {
    const path = inFolder('read-only');
    writeFileSync(path, Buffer.alloc(PAGE, 5));
    const fd = openSync(path, 'r');
    expect(failure(() => native.mapFd(arena, 0, PAGE, fd, 0, true))).toBe('mmap EACCES');
    native.mapFd(arena, 0, PAGE, fd, 0, false);
    expect(arena[PAGE - 1]).toBe(5);
    native.unmap(arena, 0, PAGE);
    closeSync(fd);
  });

  it('refuses what lies beyond the end of a file: touching it would end the process', () => {
    const path = inFolder('short');
    writeFileSync(path, Buffer.alloc(PAGE + 1));
    const fd = openSync(path, 'r+');
    expect(failure(() => native.mapFd(arena, 0, 3 * PAGE, fd, 0, true))).toBe('mmap ENXIO');
    expect(failure(() => native.mapFd(arena, 0, PAGE, fd, 2 * PAGE, true))).toBe('mmap ENXIO');
    expect(failure(() => native.mapFd(arena, 0, PAGE, fd, 2 ** 53, true))).toBe('mmap ENXIO');
    native.mapFd(arena, 0, 2 * PAGE, fd, 0, true); // the rest of the last page is zeros
    expect(arena[2 * PAGE - 1]).toBe(0);
    native.unmap(arena, 0, 2 * PAGE);
    closeSync(fd);
  });

  it('names what is wrong with the file', () => {
    const path = inFolder('file');
    writeFileSync(path, Buffer.alloc(2 * PAGE));
    const fd = openSync(path, 'r+');
    const event = native.eventfd();
    expect(failure(() => native.mapFd(arena, 0, PAGE, fd, 1, true))).toBe('mmap EINVAL');
    expect(failure(() => native.mapFd(arena, 0, PAGE, event, 0, true))).toBe('mmap ENODEV');
    expect(failure(() => native.mapFd(arena, 0, PAGE, 1_000_000, 0, true))).toBe('mmap EBADF');
    native.close(event);
    closeSync(fd);
  });

  testWith('python3', 'leaves no hole in the arena when the kernel had taken the old pages out already', async () => {
    // A file on huge pages, mapped at an odd offset: refused by the file system, after the range was emptied.
    const make =
      'import os, sys; fd = os.memfd_create("huge", os.MFD_HUGETLB); os.ftruncate(fd, 8 << 20); print(fd, flush=True); sys.stdin.read()';
    const python = spawn('python3', ['-c', make], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [line] = (await once(python.stdout, 'data')) as [Buffer];
    const fd = openSync(`/proc/${python.pid}/fd/${Number(line)}`, 'r+');
    const wide = new Uint8Array(reserve(128 * 65_536).buffer);
    const at = (HUGE_PAGE - native.addressRemainder(wide, HUGE_PAGE)) % HUGE_PAGE;
    expect(failure(() => native.mapFd(wide, at, HUGE_PAGE, fd, PAGE, true))).toBe('mmap EINVAL');
    expect(wide[at]).toBe(0); // a hole would be the end of this process
    wide[at + HUGE_PAGE - 1] = 1;
    closeSync(fd);
    python.stdin.end();
    await once(python, 'exit');
  });
});

describe('file descriptors', () => {
  it('are closed by number, and an unknown number is an error with its call and errno', () => {
    const fd = native.eventfd();
    expect(openFds().get(fd)).toContain('eventfd');
    native.close(fd);
    expect(openFds().has(fd)).toBe(false);
    expect(failure(() => native.close(fd))).toBe('close EBADF');
    expect(failure(() => native.notify(fd))).toBe('write EBADF');
  });

  it('are read without waiting and without exceptions: what there is, or a negative errno', () => {
    const fd = native.eventfd();
    const bytes = new Uint8Array(8);
    expect(native.readNow(fd, bytes)).toBe(-constants.errno.EAGAIN);
    native.notify(fd);
    native.notify(fd);
    expect([native.readNow(fd, bytes), bytes[0]]).toEqual([8, 2]);
    expect(native.readNow(fd, bytes.subarray(1))).toBe(-constants.errno.EINVAL);
    native.close(fd);
    expect(native.readNow(fd, bytes)).toBe(-constants.errno.EBADF);
  });

  it('are taken at full width: 2^32 is not 0', () => {
    for (const fd of [2 ** 32, 2 ** 32 + 1, 2 ** 31, -1]) {
      for (const call of [() => native.close(fd), () => native.notify(fd), () => native.flock(fd)]) {
        expect(call, String(fd)).toThrow(RangeError);
      }
      expect(() => native.epollAdd(fd, 1)).toThrow(RangeError);
      expect(() => native.epollWait(fd, 1)).toThrow(RangeError);
      expect(() => native.mapFd(arena, 0, PAGE, fd, 0, true)).toThrow(RangeError);
    }
  });

  it('do not live on in programs that are started', () => {
    const fd = native.eventfd();
    const { stdout } = spawnSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' });
    expect(stdout).not.toContain('eventfd');
    native.close(fd);
  });

  it('are locked at once or not at all', () => {
    const path = inFolder('locked');
    writeFileSync(path, '');
    const [first, second] = [openSync(path, 'r'), openSync(path, 'r')] as const;
    native.flock(first);
    expect(failure(() => native.flock(second))).toBe('flock EAGAIN');
    native.flock(first, true);
    native.flock(second, true);
    expect(failure(() => native.flock(first))).toBe('flock EAGAIN');
    closeSync(first);
    native.flock(second);
    closeSync(second);
  });
});

describe('epoll', () => {
  it('waits as long as it is asked, and returns the number of signalled fds', () => {
    const [a, b] = [native.eventfd(), native.eventfd()] as const;
    const set = native.epollCreate();
    for (const fd of [a, b]) native.epollAdd(set, fd);
    const waits = Array.from({ length: 3 }, () => {
      const before = performance.now();
      expect(native.epollWait(set, 5000)).toBe(0);
      return performance.now() - before;
    });
    expect(Math.max(...waits)).toBeGreaterThanOrEqual(4.9); // a signal may have cut one short
    native.notify(a);
    native.notify(b);
    native.notify(b);
    expect(native.epollWait(set, 1_000_000)).toBe(2);
    // Edge-triggered: nobody reads the eventfds, and yet they are quiet until the next signal.
    expect(native.epollWait(set, 0)).toBe(0);
    native.notify(a);
    expect(native.epollWait(set, 0)).toBe(1);
    for (const fd of [a, b, set]) native.close(fd);
  });

  it('never waits more than a second, however long it is asked to', () => {
    const set = native.epollCreate();
    const waits = Array.from({ length: 2 }, () => {
      const before = performance.now();
      expect(native.epollWait(set, 2 ** 53)).toBe(0);
      return performance.now() - before;
    });
    // The first may have been cut short: a signal (of a child process that ended) wakes it too.
    expect(Math.max(...waits)).toBeGreaterThanOrEqual(999);
    expect(Math.max(...waits)).toBeLessThan(2500);
    native.close(set);
  });

  it('takes a signal that came before it waited', () => {
    const event = native.eventfd();
    const set = native.epollCreate();
    native.notify(event);
    native.epollAdd(set, event);
    expect(native.epollWait(set, 1_000_000)).toBe(1);
    native.close(event);
    native.close(set);
  });

  it('passes on what becomes ready in a set inside it, each time, though nobody reads there', () => {
    const event = native.eventfd();
    const [inner, outer] = [native.epollCreate(), native.epollCreate()] as const;
    native.epollAdd(outer, inner);
    expect(native.epollWait(outer, 0)).toBe(0);
    native.epollAdd(inner, event);
    for (let i = 0; i < 3; i++) {
      native.notify(event);
      expect(native.epollWait(outer, 1_000_000)).toBe(1);
      expect(native.epollWait(outer, 0)).toBe(0);
    }
    native.epollRemove(inner, event);
    native.notify(event);
    expect(native.epollWait(outer, 0)).toBe(0);
    expect(failure(() => native.epollRemove(inner, event))).toBe('epoll_ctl ENOENT');
    for (const fd of [event, inner, outer]) native.close(fd);
  });

  it('watches for as long as it is told to, reports what was there before, and throws nothing', () => {
    const event = native.eventfd();
    const set = native.epollCreate();
    native.notify(event);
    expect(native.epollWatch(set, event, true)).toBe(0);
    expect(native.epollWait(set, 0)).toBe(1);
    expect(native.epollWatch(set, event, true)).toBe(17); // EEXIST
    expect(native.epollWatch(set, event, false)).toBe(0);
    native.notify(event);
    expect(native.epollWait(set, 0)).toBe(0);
    expect(native.epollWatch(set, event, false)).toBe(2); // ENOENT
    for (const fd of [event, set]) native.close(fd);
    expect(native.epollWatch(set, event, true)).toBe(9); // EBADF
  });

  it('refuses an fd twice, and fds that are none', () => {
    const event = native.eventfd();
    const set = native.epollCreate();
    native.epollAdd(set, event);
    expect(failure(() => native.epollAdd(set, event))).toBe('epoll_ctl EEXIST');
    expect(failure(() => native.epollAdd(event, set))).toBe('epoll_ctl EINVAL');
    expect(failure(() => native.epollWait(event, 0))).toBe('epoll_wait EINVAL');
    native.close(event);
    native.close(set);
  });

  it('signals an eventfd whose counter is full without blocking', () => {
    const event = native.eventfd();
    writeSync(event, new Uint8Array(BigUint64Array.of(2n ** 64n - 2n).buffer));
    native.notify(event);
    const set = native.epollCreate();
    native.epollAdd(set, event);
    expect(native.epollWait(set, 0)).toBe(1);
    native.close(event);
    native.close(set);
  });
});

describe('the calling thread', () => {
  it('is pinned to one cpu, and to more by nobody but itself', () => {
    const allowed = native.affinity();
    expect(allowed.length).toBeGreaterThan(0);
    expect(allowed.length).toBeLessThanOrEqual(cpus().length);
    const one = allowed.at(-1) as number;
    const script = `const native = require(${ADDON}); native.setAffinity(${one}); console.log(JSON.stringify(native.affinity()))`;
    const { stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
    expect(JSON.parse(stdout)).toEqual([one]);
    expect(native.affinity()).toEqual(allowed);
  });

  it('cannot be pinned to a cpu that is not there', () => {
    expect(failure(() => native.setAffinity(8191))).toBe('sched_setaffinity EINVAL');
    expect(() => native.setAffinity(8192)).toThrow(RangeError);
    expect(() => native.setAffinity(-1)).toThrow(RangeError);
  });

  it('has a number, a lock limit and timers that it may sharpen', () => {
    expect(native.tid()).toBe(process.pid); // vitest runs a test file on its process's main thread
    const soft = /^Max locked memory\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    expect(native.memlockLimit()).toBe(soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft));
    native.setTimerSlack(1000);
    expect(Number(readFileSync('/proc/self/timerslack_ns', 'utf8'))).toBe(1000);
    native.setTimerSlack(50_000);
  });
});

describe('the clock', () => {
  const read = (words: Int32Array, at: number): bigint =>
    (BigInt(words[at + 1]! >>> 0) << 32n) | BigInt(words[at]! >>> 0);

  it('is monotonic, and is the one that Node reads', () => {
    const words = new Int32Array(4);
    native.bindClock(words);
    let last = process.hrtime.bigint();
    for (let i = 0; i < 10_000; i++) {
      native.clock();
      const now = read(words, 0);
      expect(now >= last).toBe(true);
      last = now;
    }
    expect(process.hrtime.bigint() >= last).toBe(true);
    expect(words[2]).toBe(0);
  });

  it('tells the time of day in other words', () => {
    const words = new Int32Array(4);
    native.bindClock(words);
    const before = BigInt(Date.now()) * 1_000_000n;
    native.utc();
    const now = read(words, 2);
    expect(now >= before).toBe(true);
    expect(now < before + 10_000_000_000n).toBe(true);
    expect([...words.subarray(0, 2)]).toEqual([0, 0]);
  });

  it('writes to nothing but an Int32Array of its length, and keeps that one alive', () => {
    const bad = [
      new Uint8Array(16),
      new Int32Array(3),
      new Float64Array(4),
      new DataView(new ArrayBuffer(16)),
      [0, 0, 0, 0],
      undefined,
    ];
    for (const words of bad)
      expect(() => native.bindClock(words as Int32Array)).toThrow('expected an Int32Array of 4 words');
    const script = `const native = require(${ADDON});
      (() => native.bindClock(new Int32Array(new SharedArrayBuffer(1 << 24), (1 << 24) - 16, 4)))();
      for (let i = 0; i < 50; i++) { gc(); native.clock(); native.utc(); }
      console.log('alive');`;
    const { stdout } = spawnSync(process.execPath, ['--expose-gc', '-e', script], { encoding: 'utf8' });
    expect(stdout).toBe('alive\n');
  });

  it("is each thread's own", () => {
    const script = `const native = require(${ADDON});
      const { Worker } = require('node:worker_threads');
      native.bindClock(new Int32Array(4));
      native.clock();
      new Worker(\`require(\${JSON.stringify(${ADDON})}).clock()\`, { eval: true }).on('error', (e) => console.log(e.name, e.message));`;
    const { stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
    expect(stdout).toBe('RangeError bindClock first\n');
  });
});

it('tells a failed call from other errors', () => {
  expect(syscallOf(new Error('x'))).toBeUndefined();
  expect(syscallOf(Object.assign(new Error('x'), { syscall: 'mmap', errno: -constants.errno.ENOMEM }))).toEqual({
    syscall: 'mmap',
    errno: -constants.errno.ENOMEM,
  });
});

describe('fds', () => {
  it('come as pairs of connected sockets, non-blocking and close-on-exec', () => {
    const [a, b] = native.socketPair();
    writeSync(a, 'x');
    const byte = Buffer.alloc(2);
    expect(readSync(b, byte)).toBe(1);
    expect(() => readSync(b, byte)).toThrow('EAGAIN');
    for (const fd of [a, b]) {
      const flags = Number.parseInt(/^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!, 8);
      expect(flags & 0o2004000).toBe(0o2004000);
      closeSync(fd);
    }
  });

  it('can be replaced under their number', () => {
    const [one, two] = [native.eventfd(), native.eventfd()];
    native.replaceFd(one, two);
    native.notify(one);
    const count = Buffer.alloc(8);
    readSync(two, count);
    expect(count[0]).toBe(1);
    expect(failure(() => native.replaceFd(one, 99_999))).toBe('dup3 EBADF');
    for (const fd of [one, two]) closeSync(fd);
  });

  it('can be made non-blocking, and have seals or none', () => {
    expect(failure(() => native.setNonblocking(99_999))).toBe('fcntl(F_SETFL) EBADF');
    const fd = native.mapMemory(arena, 0, PAGE, false);
    expect(native.fileSeals(fd) & 7).toBe(7);
    native.unmap(arena, 0, PAGE);
    closeSync(fd);
    const file = openSync(inFolder('no-seals'), 'w+');
    expect(native.fileSeals(file)).toBe(0);
    closeSync(file);
  });
});
