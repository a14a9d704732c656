/** A helper with interfaces and privileges that are not there, on a unix socket that is. */
import { fstatSync } from 'node:fs';
import { afterEach } from 'vitest';
import type { ProgramWish, XskRights } from '../../lib/devios/xsk-rights.ts';
import { type GrantEvent, type GrantedPort, GrantHelper } from '../../lib/grant/helper.ts';
import { connectUnix } from '../../lib/unix/connect.ts';
import type { UnixConnection } from '../../lib/unix/connection.ts';
import { loadNative, type Native } from '../../native/index.ts';
import { FakeNetlink } from './netlink.ts';
import { closeAll } from './unix.ts';

const AF_NETLINK = 16;
const AF_INET = 2;

/** The addon, with `kernel` in the place of rtnetlink and ethtool. */
export function nativeOver(kernel: FakeNetlink, real: Native = loadNative()): Native {
  const fake = kernel.native;
  const mine =
    (name: 'bind' | 'send' | 'receive' | 'close' | 'ioctl') =>
    (fd: number, ...rest: unknown[]): unknown =>
      Reflect.apply(kernel.open.has(fd) ? fake[name] : real[name], undefined, [fd, ...rest]);
  const names = ['bind', 'send', 'receive', 'close', 'ioctl'] as const;
  return Object.create(real, {
    socket: {
      value: (domain: number, type: number, protocol: number) =>
        (domain === AF_NETLINK || domain === AF_INET ? fake : real).socket(domain, type, protocol),
    },
    ...Object.fromEntries(names.map((name) => [name, { value: mine(name) }])),
  });
}

/** Privileges that note what they are used for. */
export class FakeRights implements XskRights {
  readonly calls: unknown[][] = [];
  readonly failing = new Map<string, Error>();
  private readonly native: Native;

  constructor(native: Native) {
    this.native = native;
  }

  private did(...call: unknown[]): void {
    this.calls.push(call);
    const error = this.failing.get(String(call[0]));
    if (error !== undefined) throw error;
  }

  async attach({ mode, match, closed }: ProgramWish) {
    this.did('attach', mode, match.length, closed);
    return { mode: 'skb' as const, why: 'it is a fake' };
  }
  detach(): void {
    this.did('detach');
  }
  /** In the place of an AF_XDP socket, an eventfd. */
  async openSocket(queue: number, busyPoll: boolean): Promise<number> {
    this.did('socket', queue, busyPoll);
    return this.native.eventfd();
  }
  async feed(queue: number, fd: number): Promise<void> {
    fstatSync(fd);
    this.did('feed', queue);
  }
  starve(queue: number): void {
    this.did('starve', queue);
  }
  setPromiscuous(on: boolean): void {
    this.did('promiscuous', on);
  }
  onLost(): void {}
  close(): void {
    this.did('close');
  }
}

/** An engine that says what it likes. */
export interface Engine {
  readonly connection: UnixConnection;
  /** Sends a record, an object or raw text, and returns the answer, or undefined when the helper has hung up. */
  say(record: object | string, fds?: readonly number[]): Promise<Record<string, unknown> | undefined>;
  /** Closes the fds that came so far; returns how many there were. */
  fds(): number;
}

/** Makes helpers; all of them and their engines end with each test. */
export function grantWorld(inFolder: (name: string) => string) {
  const open: { close(): void | Promise<void> }[] = [];
  afterEach(async () => {
    for (const thing of open.splice(0).reverse()) await thing.close();
  });
  let made = 0;

  return async (ports: readonly GrantedPort[] = [{ name: 'eth0', force: false }], uid = process.getuid!()) => {
    const kernel = new FakeNetlink();
    kernel.put({ index: 2, name: 'eth0' });
    kernel.put({ index: 3, name: 'eth1' });
    kernel.put({ index: 4, name: 'tun0', type: 65534 });
    const native = nativeOver(kernel);
    const path = inFolder(`grant-${made++}`);
    const events: GrantEvent[] = [];
    const rights: FakeRights[] = [];
    const helper = new GrantHelper(native, { ports, uid, path, tell: (event) => events.push(event) }, () => {
      rights.push(new FakeRights(native));
      return rights.at(-1)!;
    });
    open.push(helper);

    async function engine(): Promise<Engine> {
      const connection = await connectUnix(native, path, { kind: 'seqpacket' });
      open.push(connection);
      const got: number[] = [];
      return {
        connection,
        async say(record, sent = []) {
          await connection.send(Buffer.from(typeof record === 'string' ? record : JSON.stringify(record)), sent);
          const answer = await connection.read(4096, { fds: 8, startMs: 1000 });
          got.push(...(answer?.fds ?? []));
          return answer === undefined ? undefined : JSON.parse(Buffer.from(answer.bytes).toString());
        },
        fds() {
          const all = got.splice(0);
          closeAll(all);
          return all.length;
        },
      };
    }
    return { kernel, native, helper, path, events, rights, engine };
  };
}

export const HELLO = { id: 1, type: 'hello', version: 1, interface: 'eth0' };
