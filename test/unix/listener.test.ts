import { chmodSync, lstatSync, readFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { AF_UNIX, SOCKET_TYPE, sockaddrUn } from '../../lib/unix/address.ts';
import { connectUnix } from '../../lib/unix/connect.ts';
import type { UnixConnection } from '../../lib/unix/connection.ts';
import { type ListenOptions, UnixListener } from '../../lib/unix/listener.ts';
import { loadNative, type Native } from '../../native/index.ts';
import { codeOf, thrown } from '../fakes/errors.ts';
import { countFds } from '../fakes/fds.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { waitFor } from '../fakes/netns.ts';

const native = loadNative();
const inFolder = temporaryFolder();
const open: { close(): void }[] = [];
afterEach(() => {
  for (const socket of open.splice(0)) socket.close();
});

let made = 0;
const somewhere = () => inFolder(`s${made++}`);

function listen(options: Partial<ListenOptions> = {}, using: Native = native) {
  const accepted: UnixConnection[] = [];
  const path = options.path ?? somewhere();
  const listener = new UnixListener(using, { path, connected: (connection) => accepted.push(connection), ...options });
  open.push(listener, { close: () => accepted.map((connection) => connection.close()) });
  return { listener, path, accepted };
}

async function connect(path: string): Promise<UnixConnection> {
  const connection = await connectUnix(native, path);
  open.push(connection);
  return connection;
}

/** A socket's file whose listener has died. */
function stale(path: string): void {
  const fd = native.socket(AF_UNIX, SOCKET_TYPE.stream, 0);
  native.bind(fd, sockaddrUn(path));
  native.close(fd);
}

describe('a listener', () => {
  it('has a file of mode 0600 before anybody can connect, whatever the umask', () => {
    const umask = process.umask(0);
    try {
      let mode = 0;
      const path = somewhere();
      const watching = Object.create(native, {
        listen: {
          value: (fd: number, backlog: number) => {
            mode = lstatSync(path).mode & 0o7777;
            native.listen(fd, backlog);
          },
        },
      });
      listen({ path }, watching);
      expect(mode).toBe(0o600);
      expect(lstatSync(listen({ mode: 0o660 }).path).mode & 0o7777).toBe(0o660);
    } finally {
      process.umask(umask);
    }
  });

  it('accepts who connects, and knows who it is', async () => {
    const { path, accepted } = listen();
    const client = await connect(path);
    await client.send(Buffer.from('hi'));
    await waitFor('it is accepted', () => accepted.length === 1);
    expect(accepted[0]!.peer).toMatchObject({ uid: process.getuid!(), pid: process.pid });
    expect(Buffer.from((await accepted[0]!.read(2))!.bytes).toString()).toBe('hi');
  });

  it('turns away whose uid is not on its list, and who comes when there are enough', async () => {
    const refused: string[] = [];
    const strangers = listen({ uids: [process.getuid!() + 1], refused: (_, why) => refused.push(why) });
    const client = await connect(strangers.path);
    expect(await client.read(1)).toBeUndefined();
    expect(strangers.accepted).toEqual([]);
    const few = listen({ most: 1, uids: [process.getuid!()], refused: (_, why) => refused.push(why) });
    const first = await connect(few.path);
    const second = await connect(few.path);
    expect(await second.read(1)).toBeUndefined();
    few.accepted[0]!.close();
    expect(await first.read(1)).toBeUndefined();
    await connect(few.path);
    await waitFor('there is room again', () => few.accepted.length === 2);
    expect(refused).toEqual([`uid ${process.getuid!()} may not connect`, '1 are connected']);
  });

  it('takes the place of one that died, and not that of one that lives', async () => {
    const path = somewhere();
    stale(path);
    listen({ path });
    await connect(path);
    const error = thrown(() => new UnixListener(native, { path, connected: () => {} }));
    expect([error.code, error.message]).toEqual(['UNIX_PATH_TAKEN', expect.stringContaining('somebody listens there')]);
    expect(codeOf(() => new UnixListener(native, { path, kind: 'seqpacket', connected: () => {} }))).toBe(
      'UNIX_PATH_TAKEN',
    );
    await connect(path);
  });

  it('touches nothing that is not a dead socket: a file, a link to a dead socket, a link to nowhere', () => {
    const [file, target, link, nowhere] = [somewhere(), somewhere(), somewhere(), somewhere()];
    writeFileSync(file, 'precious');
    stale(target);
    symlinkSync(target, link);
    symlinkSync(inFolder('absent'), nowhere);
    const before = countFds('socket:');
    for (const path of [file, link, nowhere]) expect(codeOf(() => listen({ path }))).toBe('UNIX_PATH_TAKEN');
    expect(countFds('socket:')).toBe(before);
    expect(readFileSync(file, 'utf8')).toBe('precious');
    expect(lstatSync(target).isSocket() && lstatSync(link).isSymbolicLink()).toBe(true);
    expect(() => lstatSync(inFolder('absent'))).toThrow();
  });

  it('removes its file when it is closed, and only its own', () => {
    const first = listen();
    first.listener.close();
    first.listener.close();
    expect(() => lstatSync(first.path)).toThrow('ENOENT');
    const second = listen();
    renameSync(second.path, somewhere());
    writeFileSync(second.path, 'of somebody else');
    second.listener.close();
    expect(readFileSync(second.path, 'utf8')).toBe('of somebody else');
    const third = listen();
    unlinkSync(third.path);
    third.listener.close();
  });

  it('that is replaced between making its file and listening says so', () => {
    const path = somewhere();
    const racing = Object.create(native, {
      listen: {
        value: (fd: number, backlog: number) => {
          unlinkSync(path);
          stale(path);
          native.listen(fd, backlog);
        },
      },
    });
    expect(codeOf(() => listen({ path }, racing))).toBe('UNIX_PATH_TAKEN');
    expect(lstatSync(path).isSocket()).toBe(true);
  });

  it('says what to do about a folder that is not there, and a path that is no path', () => {
    const error = thrown(() => listen({ path: inFolder('no/such/folder') }));
    expect([error.code, error.message]).toEqual(['UNIX_LISTEN', expect.stringContaining('make its folder first')]);
    for (const path of ['', 'x'.repeat(108), 'a\0b'])
      expect(
        codeOf(() => listen({ path })),
        path,
      ).toBe('UNIX_PATH');
    expect(listen({ path: inFolder('x').padEnd(107, 'x') }).path).toHaveLength(107);
  });

  it('tries again later when this process can open no more', async () => {
    const failed: Error[] = [];
    let broken = true;
    const { UnixSocket } = native;
    class Full extends (UnixSocket as unknown as new (fd: number) => { accept(): number }) {
      override accept(): number {
        if (broken) throw Object.assign(new Error('too many'), { syscall: 'accept4', errno: -24 });
        return super.accept();
      }
    }
    const full = Object.create(native, { UnixSocket: { value: Full } });
    const { path, accepted } = listen({ failed: (error) => failed.push(error) }, full);
    await connect(path);
    await waitFor('it is told', () => failed.length > 0);
    await sleep(150);
    expect(failed.length).toBeLessThan(4);
    expect(failed[0]).toMatchObject({ code: 'UNIX_LISTEN', message: expect.stringContaining('ulimit -n') });
    broken = false;
    await waitFor('it is accepted', () => accepted.length === 1);
  });
});

describe('connecting', () => {
  it('says why it cannot: nobody there, nobody listening any more, another type', async () => {
    const path = somewhere();
    await expect(connectUnix(native, path)).rejects.toMatchObject({
      code: 'UNIX_CONNECT',
      detail: { errno: 'ENOENT' },
    });
    stale(path);
    await expect(connectUnix(native, path)).rejects.toMatchObject({
      code: 'UNIX_CONNECT',
      detail: { errno: 'ECONNREFUSED' },
    });
    const { path: other } = listen({ kind: 'seqpacket' });
    await expect(connectUnix(native, other)).rejects.toMatchObject({
      code: 'UNIX_CONNECT',
      detail: { errno: 'EPROTOTYPE' },
    });
  });

  it('waits for its turn, not for ever', async () => {
    const path = somewhere();
    const fd = native.socket(AF_UNIX, SOCKET_TYPE.stream, 0);
    native.bind(fd, sockaddrUn(path));
    native.listen(fd, 0);
    const before = countFds('socket:');
    const waiting = await connect(path);
    await expect(connectUnix(native, path, { withinMs: 30 })).rejects.toMatchObject({
      code: 'UNIX_CONNECT',
      message: expect.stringContaining('accepts nobody'),
    });
    const turn = connectUnix(native, path);
    await sleep(20);
    const listening = new native.UnixSocket(fd);
    open.push(listening);
    native.close(listening.accept());
    open.push(await turn);
    waiting.close();
    expect(countFds('socket:')).toBe(before + 1);
    chmodSync(path, 0o600);
  });
});
