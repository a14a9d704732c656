/** A netlink socket: dumps, and changes as they come. Control half. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Native } from '../../native/index.ts';
import { SystemError } from '../errors.ts';
import { errnoName, systemError } from '../system-error.ts';
import { decodeMessages, encodeMessage, type Message, NLM_F, NLMSG } from './message.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_ROUTE = 0;
/** What the kernel puts into one datagram of a dump is far below. */
const DATAGRAM = 65_536;
const DUMP_MS = 2000;
/** How often a dump is repeated that was torn by changes. */
const DUMPS = 3;
/** rtgenmsg: family 0, all of them; long enough for what the kernel's strict checking expects of each kind. */
const ALL = new Uint8Array(16);

/** A socket that belongs to whoever opened it. */
export class NetlinkSocket {
  private readonly native: Native;
  private readonly fd: number;
  private readonly buffer = new Uint8Array(DATAGRAM);
  private sequence = 0;
  private open = true;

  /** Subscribes to the multicast groups in the mask `groups`. */
  constructor(native: Native, groups: number, protocol: number = NETLINK_ROUTE) {
    this.native = native;
    try {
      this.fd = native.socket(AF_NETLINK, SOCK_RAW, protocol);
    } catch (cause) {
      throw systemError(SystemError, 'NETLINK', 'opening a netlink socket', cause);
    }
    const address = new Uint8Array(12);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_NETLINK, true);
    view.setUint32(8, groups, true);
    try {
      native.bind(this.fd, address);
    } catch (cause) {
      this.close();
      throw systemError(SystemError, 'NETLINK', 'subscribing to netlink', cause);
    }
  }

  /**
   * Takes the messages that are there. `lost` is true when the kernel had to throw some away: then only dumping again
   * tells how things are.
   */
  receive(): { readonly messages: Message[]; readonly lost: boolean } {
    const messages: Message[] = [];
    while (this.open) {
      let length: number;
      try {
        length = this.native.receive(this.fd, this.buffer);
      } catch (error) {
        if (errnoName(error) === 'ENOBUFS') return { messages, lost: true };
        throw systemError(SystemError, 'NETLINK', 'reading from netlink', error);
      }
      if (length < 0) break;
      if (length > DATAGRAM) return { messages, lost: true };
      messages.push(...decodeMessages(this.buffer.slice(0, length)));
    }
    return { messages, lost: false };
  }

  /** Asks for all objects of a kind (`RTM.getLink` …). Not on a socket that is subscribed to anything. */
  async dump(type: number, request: Uint8Array = ALL): Promise<Message[]> {
    for (let attempt = 0; ; attempt++) {
      const found = await this.dumpOnce(type, request);
      // What changed while it was read may be missing from it.
      const torn = found.some(({ flags }) => (flags & NLM_F.dumpInterrupted) !== 0);
      if (!torn || attempt === DUMPS) return found;
    }
  }

  private async dumpOnce(type: number, request: Uint8Array): Promise<Message[]> {
    const sequence = ++this.sequence;
    this.native.send(this.fd, encodeMessage(type, NLM_F.request | NLM_F.dump, sequence, request));
    const found: Message[] = [];
    for (const end = performance.now() + DUMP_MS; performance.now() < end; await sleep(1)) {
      const { messages, lost } = this.receive();
      if (lost) throw refused(type, 'it was more than the socket holds');
      for (const message of messages) {
        if (message.sequence !== sequence) continue;
        if (message.type === NLMSG.done) return found;
        if (message.type === NLMSG.error) throw refused(type, `the kernel answered with error ${errorOf(message)}`);
        found.push(message);
      }
    }
    throw refused(type, `no end after ${DUMP_MS} ms`);
  }

  close(): void {
    if (this.open) this.native.close(this.fd);
    this.open = false;
  }
}

/** All objects of a kind, by a socket of its own. */
export async function dumpAll(native: Native, type: number): Promise<Message[]> {
  const socket = new NetlinkSocket(native, 0);
  try {
    return await socket.dump(type);
  } finally {
    socket.close();
  }
}

function errorOf({ payload }: Message): number {
  if (payload.length < 4) return 0;
  return -new DataView(payload.buffer, payload.byteOffset, payload.byteLength).getInt32(0, true);
}

function refused(type: number, why: string): SystemError {
  return new SystemError('NETLINK', { what: `netlink dump ${type}`, why, fix: 'try again; see netlink(7)' });
}
