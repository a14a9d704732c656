/** An rtnetlink socket: dumps, and changes as they come. Control half. */
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

/** A socket that belongs to whoever opened it. */
export class RouteSocket {
  private readonly native: Native;
  private readonly fd: number;
  private readonly buffer = new Uint8Array(DATAGRAM);
  private sequence = 0;
  private open = true;

  /** Subscribes to the multicast groups in the mask `groups`. */
  constructor(native: Native, groups: number) {
    this.native = native;
    try {
      this.fd = native.socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    } catch (cause) {
      throw systemError(SystemError, 'NETLINK', 'opening an rtnetlink socket', cause);
    }
    const address = new Uint8Array(12);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_NETLINK, true);
    view.setUint32(8, groups, true);
    try {
      native.bind(this.fd, address);
    } catch (cause) {
      this.close();
      throw systemError(SystemError, 'NETLINK', 'subscribing to rtnetlink', cause);
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
        throw systemError(SystemError, 'NETLINK', 'reading from rtnetlink', error);
      }
      if (length < 0) break;
      if (length > DATAGRAM) return { messages, lost: true };
      messages.push(...decodeMessages(this.buffer.slice(0, length)));
    }
    return { messages, lost: false };
  }

  /** Asks for all objects of a kind (`RTM.getLink` …). Changes that come meanwhile are handed to `other`. */
  async dump(type: number, other: (message: Message) => void): Promise<Message[]> {
    const sequence = ++this.sequence;
    // rtgenmsg: family 0, all of them; long enough for what the kernel's strict checking expects of each kind.
    this.native.send(this.fd, encodeMessage(type, NLM_F.request | NLM_F.dump, sequence, new Uint8Array(16)));
    const found: Message[] = [];
    for (const end = performance.now() + DUMP_MS; performance.now() < end; await sleep(1)) {
      for (const message of this.receive().messages) {
        if (message.sequence !== sequence) other(message);
        else if (message.type === NLMSG.done) return found;
        else if (message.type === NLMSG.error) throw refused(type, message);
        else found.push(message);
      }
    }
    const text = { what: `rtnetlink dump ${type}`, why: `no end after ${DUMP_MS} ms`, fix: 'try again' };
    throw new SystemError('NETLINK_TIMEOUT', text);
  }

  close(): void {
    if (this.open) this.native.close(this.fd);
    this.open = false;
  }
}

function refused(type: number, { payload }: Message): SystemError {
  const error = new DataView(payload.buffer, payload.byteOffset, payload.byteLength).getInt32(0, true);
  return new SystemError('NETLINK', {
    what: `rtnetlink dump ${type}`,
    why: `the kernel answered with error ${-error}`,
    fix: 'see rtnetlink(7)',
  });
}
