/** Configuration, MTU, announcements, and the socket for our own requests. Main thread. */
import { UnixConnection } from '../../unix/connection.ts';
import { NET_LIMITS } from '../../virtio/net.ts';
import type { Handlers } from '../handler.ts';
import { checkSocket } from '../peer-file.ts';
import { CONFIG_F, LIMIT } from '../protocol.ts';
import { refusal } from '../refusal.ts';

function checkRange(message: string, offset: number, size: number): void {
  if (size > 0 && offset + size <= LIMIT.configBytes) return;
  throw refusal(message, `bytes ${offset}+${size} of a configuration of ${LIMIT.configBytes}`, 'VHOST_BAD_RANGE');
}

type Mine = 'GET_CONFIG' | 'SET_CONFIG' | 'NET_SET_MTU' | 'SEND_RARP' | 'SET_BACKEND_REQ_FD';

export const configHandlers: Handlers<Mine> = {
  GET_CONFIG({ owner }, { offset, size, flags }) {
    checkRange('GET_CONFIG', offset, size);
    // What the device does not have reads as zeros.
    const all = new Uint8Array(LIMIT.configBytes);
    all.set(owner.config().subarray(0, LIMIT.configBytes));
    return { offset, size, flags, bytes: all.subarray(offset, offset + size) };
  },
  SET_CONFIG(_state, { offset, size, flags }) {
    checkRange('SET_CONFIG', offset, size);
    if (flags !== CONFIG_F.WRITABLE && flags !== CONFIG_F.LIVE_MIGRATION)
      throw refusal('SET_CONFIG', `unknown flags ${flags}`, 'VHOST_BAD_FLAGS');
    // A network device of version 1 has no field that a driver may write, nor one that a migration has to bring along.
    throw refusal('SET_CONFIG', 'the configuration can only be read', 'VHOST_READ_ONLY');
  },
  NET_SET_MTU({ owner }, mtu) {
    if (mtu < BigInt(NET_LIMITS.minMtu) || mtu > BigInt(NET_LIMITS.maxMtu))
      throw refusal('NET_SET_MTU', `${mtu} is no MTU`, 'VHOST_BAD_MTU');
    owner.mtu(Number(mtu));
  },
  SEND_RARP({ owner }, value) {
    // The first six bytes of the payload.
    owner.rarp(Uint8Array.from({ length: 6 }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn)));
  },
  SET_BACKEND_REQ_FD(state, _nothing, fds) {
    checkSocket('SET_BACKEND_REQ_FD', fds.peek(0) as number);
    state.requests?.close();
    state.requests = undefined;
    state.requests = new UnixConnection(state.native, fds.take(0), 'stream');
  },
};
