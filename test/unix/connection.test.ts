import { spawnSync } from 'node:child_process';
import { closeSync, fstatSync, readSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { UnixKind } from '../../lib/unix/address.ts';
import { loadNative, UNIX_EVENT } from '../../native/index.ts';
import { openFds } from '../fakes/fds.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { waitFor } from '../fakes/netns.ts';
import { closeAll, closesOnExec, drain, unixPairs } from '../fakes/unix.ts';

const native = loadNative();
const pairs = unixPairs(native, temporaryFolder());
const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();
const fdCount = () => openFds().size;

/** Eventfds, closed after `body`. */
async function withFds(count: number, body: (fds: number[]) => Promise<void> | void): Promise<void> {
  const fds = Array.from({ length: count }, () => native.eventfd());
  try {
    await body(fds);
  } finally {
    closeAll(fds);
  }
}

describe.each<UnixKind>(['stream', 'seqpacket'])('a %s connection', (kind) => {
  it('carries bytes and fds in both directions; what arrives is a new fd of the same file, closed by exec', async () => {
    const [a, b] = pairs.both(kind);
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      await withFds(2, async (fds) => {
        await from.send(Buffer.from('hello'), fds);
        const got = await to.read(5, { fds: 2 });
        expect(text(got!.bytes)).toBe('hello');
        expect(got!.fds).toHaveLength(2);
        expect(got!.fds.some((fd) => fds.includes(fd))).toBe(false);
        expect(got!.fds.every(closesOnExec)).toBe(true);
        native.notify(fds[1]!);
        const count = Buffer.alloc(8);
        readSync(got!.fds[1]!, count);
        expect(count.readBigUInt64LE()).toBe(1n);
        closeAll(got!.fds);
      });
    }
  });

  it('sends at once what is the peer’s then, although this end has gone; and says so when it cannot', async () => {
    const [a, b] = pairs.both(kind);
    await withFds(1, async (fds) => {
      a.sendNow(Buffer.from('hello'), fds);
      a.close();
      const got = await b.read(5, { fds: 1 });
      expect([text(got!.bytes), got!.fds.length]).toEqual(['hello', 1]);
      closeAll(got!.fds);
    });
    expect(() => a.sendNow(Buffer.from('x'))).toThrow(/closed on this side/);
    expect(() => b.sendNow(Buffer.from('x'))).toThrow(/the peer has gone/);
    const [c] = pairs.both(kind);
    const fill = () => {
      for (;;) c.sendNow(Buffer.alloc(1000));
    };
    expect(fill).toThrow(/the peer does not read/);
    void c.send(Buffer.alloc(1000)).catch(() => {});
    expect(() => c.sendNow(Buffer.from('x'))).toThrow(kind === 'stream' ? /the peer/ : /bytes to read/);
  });

  it('knows who is at the other end', () => {
    const [a, b] = pairs.both(kind);
    const me = { pid: process.pid, uid: process.getuid!(), gid: process.getgid!() };
    expect([a.peer, b.peer]).toEqual([me, me]);
  });

  it('takes 253 fds in one message, and says so when there were more than may come: all are closed', async () => {
    await withFds(253, async (fds) => {
      const before = fdCount();
      const { ours, peer } = pairs.withRaw(kind);
      const open = fdCount();
      peer.send('many', fds);
      const got = await ours.read(4, { fds: 253 });
      expect(got!.fds).toHaveLength(253);
      closeAll(got!.fds);
      peer.send('more', fds);
      await expect(ours.read(4, { fds: 252 })).rejects.toMatchObject({ code: 'UNIX_FDS' });
      expect(fdCount()).toBe(open);
      await expect(ours.read(4)).rejects.toMatchObject({ code: 'UNIX_FDS' });
      ours.close();
      peer.socket.close();
      expect(fdCount()).toBe(before);
    });
  });

  it('takes no fd unless told to', async () => {
    const { ours, peer } = pairs.withRaw(kind);
    const open = fdCount();
    await withFds(1, async (fds) => {
      peer.send('x', fds);
      await expect(ours.read(1)).rejects.toMatchObject({ code: 'UNIX_FDS' });
    });
    expect(fdCount()).toBe(open);
  });

  it('closes all fds of a message of which some could not be opened, and says so', async () => {
    // A limit of its own: the test runner itself opens files when it likes.
    const script = fileURLToPath(new URL('../fakes/unix-truncation.mjs', import.meta.url));
    const { stdout, stderr } = spawnSync('prlimit', ['--nofile=64:64', process.execPath, script, kind], {
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({ received: -2, opened: 0 });
  });

  it('ends: a read between two messages gives nothing, and the listener is told without anybody reading', async () => {
    const { ours, peer } = pairs.withRaw(kind);
    let ends = 0;
    ours.onEnd(() => ends++);
    peer.send('last');
    peer.socket.close();
    await waitFor('it is told', () => ends === 1);
    expect(text((await ours.read(4))!.bytes)).toBe('last');
    expect(await ours.read(4)).toBeUndefined();
    expect(await ours.read(4)).toBeUndefined();
    await expect(ours.send(Buffer.from('x'))).rejects.toMatchObject({ code: 'UNIX_CLOSED' });
    let late = 0;
    ours.onEnd(() => late++);
    await waitFor('it is told', () => late === 1);
    expect(ends).toBe(1);
  });

  it('whose peer goes without having read what it was sent ends like any other', async () => {
    const { ours, peer } = pairs.withRaw(kind);
    await ours.send(Buffer.from('unread'));
    const read = ours.read(4);
    peer.socket.close();
    expect(await read).toBeUndefined();
  });

  it('that is closed rejects what is under way, calls nobody any more, and may be closed again', async () => {
    const open = fdCount();
    const { ours, peer } = pairs.withRaw(kind);
    const calls: string[] = [];
    ours.onEnd(() => calls.push('end'));
    const read = ours.read(4);
    peer.socket.close();
    ours.close();
    ours.close();
    await expect(read).rejects.toMatchObject({ code: 'UNIX_CLOSED' });
    await expect(ours.read(4)).rejects.toMatchObject({ code: 'UNIX_CLOSED' });
    await expect(ours.send(Buffer.from('x'))).rejects.toMatchObject({ code: 'UNIX_CLOSED' });
    await sleep(20);
    expect(calls).toEqual([]);
    expect(fdCount()).toBe(open);
  });

  it('refuses what is no message: no byte, 254 fds, two reads at once', async () => {
    const { ours } = pairs.withRaw(kind);
    expect(() => ours.send(new Uint8Array())).toThrow(RangeError);
    expect(() => ours.send(new Uint8Array(1), Array(254).fill(0))).toThrow(RangeError);
    expect(() => ours.read(0)).toThrow(RangeError);
    expect(() => ours.read(1, { fds: 254 })).toThrow(RangeError);
    const read = ours.read(1);
    expect(() => ours.read(1)).toThrow(RangeError);
    ours.close();
    await expect(read).rejects.toMatchObject({ code: 'UNIX_CLOSED' });
  });

  it('a callback that throws is an uncaught exception, not a lost one', async () => {
    const { peer } = pairs.withRaw(kind);
    const caught = new Promise((resolve) => process.prependOnceListener('uncaughtException', resolve));
    const others = process.listeners('uncaughtException').slice(1);
    for (const other of others) process.removeListener('uncaughtException', other);
    peer.socket.watch(UNIX_EVENT.writable, () => {
      peer.socket.close();
      throw new Error('on purpose');
    });
    expect(String(await caught)).toContain('on purpose');
    for (const other of others) process.on('uncaughtException', other);
  });
});

describe('a stream', () => {
  it('is read to the byte, however it comes: byte by byte, the fd with the first', async () => {
    const { ours, peer } = pairs.withRaw();
    await withFds(1, async (fds) => {
      const read = ours.read(12, { fds: 1 });
      for (let i = 0; i < 12; i++) {
        peer.send(String.fromCharCode(97 + i), i === 0 ? fds : []);
        await sleep(1);
      }
      const got = await read;
      expect(text(got!.bytes)).toBe('abcdefghijkl');
      expect(got!.fds).toHaveLength(1);
      closeAll(got!.fds);
    });
  });

  it('gives each fd with the message that it was sent with, though all lay there before the first was read', async () => {
    const { ours, peer } = pairs.withRaw();
    await withFds(2, async ([first, second]) => {
      peer.send('none');
      peer.send('one!', [first!]);
      peer.send('zero');
      peer.send('two!', [second!, second!]);
      const counts: [string, number][] = [];
      for (let i = 0; i < 4; i++) {
        const { bytes, fds } = (await ours.read(4, { fds: 8 }))!;
        counts.push([text(bytes), fds.length]);
        closeAll(fds);
      }
      expect(counts).toEqual([
        ['none', 0],
        ['one!', 1],
        ['zero', 0],
        ['two!', 2],
      ]);
    });
  });

  it('whose peer sends half a header and stops is given up in time, its fds closed, while others go on', async () => {
    const { ours, peer } = pairs.withRaw();
    const other = pairs.withRaw();
    const open = fdCount();
    await withFds(1, async (fds) => {
      peer.send('abcdef', fds);
      const start = performance.now();
      const half = ours.read(12, { fds: 1, withinMs: 50 });
      other.peer.send('meanwhile');
      expect(text((await other.ours.read(9))!.bytes)).toBe('meanwhile');
      await expect(half).rejects.toMatchObject({
        code: 'UNIX_TIMEOUT',
        message: expect.stringContaining('6 of 12 bytes'),
      });
      expect(performance.now() - start).toBeGreaterThan(45);
    });
    expect(fdCount()).toBe(open);
    await expect(ours.read(6)).rejects.toMatchObject({ code: 'UNIX_TIMEOUT' });
  });

  it('may be silent between messages for as long as the reader likes, and is still good after that', async () => {
    const { ours, peer } = pairs.withRaw();
    await expect(ours.read(2, { startMs: 20, withinMs: 1 })).rejects.toMatchObject({ code: 'UNIX_TIMEOUT' });
    const read = ours.read(2, { withinMs: 20 });
    await sleep(60);
    peer.send('ok');
    expect(text((await read)!.bytes)).toBe('ok');
  });

  it('what came while this thread was busy came in time', async () => {
    const { ours, peer } = pairs.withRaw();
    const read = ours.read(4, { startMs: 10, withinMs: 10 });
    peer.send('ab');
    peer.send('cd');
    for (const end = performance.now() + 30; performance.now() < end; );
    expect(text((await read)!.bytes)).toBe('abcd');
  });

  it('cut within a message says how far it came, and closes the fds that had come', async () => {
    const { ours, peer } = pairs.withRaw();
    const open = fdCount();
    await withFds(3, async (fds) => {
      peer.send('abc', fds);
      const read = ours.read(12, { fds: 8 });
      await sleep(5);
      peer.socket.close();
      await expect(read).rejects.toMatchObject({
        code: 'UNIX_CLOSED',
        message: expect.stringContaining('3 of 12 bytes'),
      });
    });
    expect(fdCount()).toBe(open - 1);
  });

  it('takes messages that are larger than the socket in parts, in order, each fd once', async () => {
    const [a, b] = pairs.both();
    const big = new Uint8Array(1_000_000).map((_, i) => i % 251);
    await withFds(2, async (fds) => {
      const sent = [a.send(big, [fds[0]!]), a.send(Buffer.from('after'), [fds[1]!])];
      const got = await b.read(big.length, { fds: 2 });
      expect(Buffer.compare(got!.bytes, big)).toBe(0);
      expect(got!.fds).toHaveLength(1);
      const after = await b.read(5, { fds: 2 });
      expect([text(after!.bytes), after!.fds.length]).toEqual(['after', 1]);
      await Promise.all(sent);
      closeAll([...got!.fds, ...after!.fds]);
    });
  });

  it('whose peer does not read keeps no more than a mebibyte for it, and gives it up in time', async () => {
    const { ours, peer } = pairs.withRaw();
    const first = ours.send(new Uint8Array(3_000_000), [], { withinMs: 50 });
    await expect(ours.send(new Uint8Array(1))).rejects.toMatchObject({ code: 'UNIX_BUSY' });
    await expect(first).rejects.toMatchObject({ code: 'UNIX_TIMEOUT' });
    drain(peer.socket);
    await expect(ours.send(new Uint8Array(1))).rejects.toMatchObject({ code: 'UNIX_TIMEOUT' });
  });
});

describe('a socket of records', () => {
  it('keeps their limits', async () => {
    const { ours, peer } = pairs.withRaw('seqpacket');
    peer.send('one');
    peer.send('three');
    expect(text((await ours.read(100))!.bytes)).toBe('one');
    expect(text((await ours.read(100))!.bytes)).toBe('three');
  });

  it('says so when one is longer than may be, and closes its fds', async () => {
    const { ours, peer } = pairs.withRaw('seqpacket');
    const open = fdCount();
    await withFds(2, async (fds) => {
      peer.send('too long', fds);
      await expect(ours.read(7, { fds: 2 })).rejects.toMatchObject({ code: 'UNIX_TOO_LONG' });
    });
    expect(fdCount()).toBe(open);
  });
});

describe('any sequence of messages', () => {
  it('arrives as it was sent, however it is cut up, with its fds, and none is left over', async () => {
    const message = fc.record({ length: fc.integer({ min: 1, max: 40 }), fds: fc.integer({ min: 0, max: 3 }) });
    const sequence = fc.record({
      messages: fc.array(message, { maxLength: 12 }),
      cuts: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
    });
    const before = fdCount();
    await withFds(3, async (stock) => {
      await fc.assert(
        fc.asyncProperty(sequence, async ({ messages, cuts }) => {
          const { ours, peer } = pairs.withRaw();
          let cut = 0;
          for (const { length, fds } of messages) {
            for (let at = 0; at < length; ) {
              const n = Math.min(length - at, cuts[cut++ % cuts.length]!);
              peer.send(new Uint8Array(n).fill(length), at === 0 ? stock.slice(0, fds) : []);
              at += n;
            }
          }
          for (const { length, fds } of messages) {
            const got = await ours.read(length, { fds: 3 });
            expect(got!.bytes.every((byte) => byte === length)).toBe(true);
            expect(got!.fds).toHaveLength(fds);
            closeAll(got!.fds);
          }
          ours.close();
          peer.socket.close();
        }),
        { numRuns: 200 },
      );
    });
    expect(fdCount()).toBe(before);
  });

  it('that is left unread, broken off or too much, leaves no fd behind', async () => {
    const before = fdCount();
    await withFds(3, async (stock) => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.record({ length: fc.integer({ min: 1, max: 9 }), fds: fc.nat(3) }), { maxLength: 9 }),
          fc.array(fc.record({ length: fc.integer({ min: 1, max: 9 }), fds: fc.nat(3) }), { maxLength: 9 }),
          fc.constantFrom<UnixKind>('stream', 'seqpacket'),
          async (sent, reads, kind) => {
            const { ours, peer } = pairs.withRaw(kind);
            for (const { length, fds } of sent) peer.send(new Uint8Array(length), stock.slice(0, fds));
            for (const { length, fds } of reads) {
              const got = await ours.read(length, { fds, startMs: 1, withinMs: 1 }).catch(() => undefined);
              closeAll(got?.fds);
            }
            ours.close();
            peer.socket.close();
          },
        ),
        { numRuns: 200 },
      );
    });
    expect(fdCount()).toBe(before);
  });
});

describe('the native class', () => {
  it('takes over unix sockets only, and leaves what it does not take', () => {
    const fd = native.eventfd();
    expect(() => new native.UnixSocket(fd)).toThrow(/not a socket|Socket operation/);
    expect(fstatSync(fd)).toBeDefined();
    closeSync(fd);
    const udp = native.socket(2, 2, 0);
    expect(() => new native.UnixSocket(udp)).toThrow(RangeError);
    closeSync(udp);
    expect(() => new native.UnixSocket(2 ** 32)).toThrow(RangeError);
    expect(() => Reflect.apply(native.UnixSocket as unknown as () => void, undefined, [1])).toThrow(TypeError);
  });

  it('is no use after it was closed, and says so', () => {
    const { peer } = pairs.withRaw();
    peer.socket.close();
    peer.socket.close();
    for (const call of [
      () => peer.socket.accept(),
      () => peer.socket.send(new Uint8Array(1), new Int32Array(0)),
      () => peer.socket.receive(new Uint8Array(1), new Int32Array(1)),
      () => peer.socket.watch(1, () => {}),
    ]) {
      expect(call).toThrow('Bad file descriptor');
    }
  });

  it('refuses arguments of other kinds, and does nothing', () => {
    const { ours, peer } = pairs.withRaw();
    const socket = peer.socket as unknown as Record<string, (...args: unknown[]) => unknown>;
    for (const args of [
      [],
      [1],
      ['x', new Int32Array(1)],
      [new Uint8Array(1)],
      [new Uint8Array(1), [1]],
      [new Uint8Array(0), new Int32Array(1)],
      [new Uint8Array(1), new Uint8Array(4)],
    ]) {
      expect(() => socket.send!(...args), String(args)).toThrow(RangeError);
      expect(() => socket.receive!(...args), String(args)).toThrow(RangeError);
    }
    for (const args of [[], [8, () => {}], [1], [-1, () => {}], [1, {}]])
      expect(() => socket.watch!(...args)).toThrow(RangeError);
    ours.close();
  });

  it('is closed with a thread that ends while it watches', async () => {
    const script = fileURLToPath(new URL('../fakes/unix-worker.mjs', import.meta.url));
    for (const end of ['exit', 'terminate']) {
      const before = fdCount();
      const worker = new Worker(script, { workerData: { end } });
      const done = new Promise((resolve) => worker.once('exit', resolve));
      await new Promise((resolve) => worker.once('message', resolve));
      if (end === 'terminate') await worker.terminate();
      await done;
      expect(fdCount()).toBe(before);
    }
  });
});
