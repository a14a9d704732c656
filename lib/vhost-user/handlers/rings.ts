/** What is said of each ring. Main thread. */
import { hasFeature } from '../../virtio/features.ts';
import type { Handlers, Received } from '../handler.ts';
import type { Payloads } from '../payload.ts';
import { refusal } from '../refusal.ts';

/** Gives the fd of the message away, if it has one; it stays the message's when that throws. */
async function giving(
  { hasFd }: Payloads['ring'],
  fds: Received,
  to: (fd: number | undefined) => Promise<void>,
): Promise<void> {
  await to(hasFd ? fds.peek(0) : undefined);
  if (hasFd) fds.take(0);
}

type Mine =
  | 'SET_VRING_NUM'
  | 'SET_VRING_ADDR'
  | 'SET_VRING_BASE'
  | 'GET_VRING_BASE'
  | 'SET_VRING_KICK'
  | 'SET_VRING_CALL'
  | 'SET_VRING_ERR'
  | 'SET_VRING_ENABLE';

export const ringHandlers: Handlers<Mine> = {
  SET_VRING_NUM: ({ rings }, payload) => rings.setNum(payload),
  SET_VRING_ADDR: ({ rings }, payload) => rings.setAddress(payload),
  SET_VRING_BASE: ({ rings }, payload) => rings.setBase(payload),
  GET_VRING_BASE: ({ rings }, payload) => rings.getBase(payload),
  SET_VRING_KICK: ({ rings }, payload, fds) => giving(payload, fds, (fd) => rings.setKick(payload.index, fd)),
  SET_VRING_CALL: ({ rings }, payload, fds) => giving(payload, fds, (fd) => rings.setSignal('call', payload.index, fd)),
  SET_VRING_ERR: ({ rings }, payload, fds) => giving(payload, fds, (fd) => rings.setSignal('err', payload.index, fd)),
  SET_VRING_ENABLE({ rings, features }, payload) {
    if (features !== undefined && !hasFeature(features, 'PROTOCOL_FEATURES'))
      throw refusal('SET_VRING_ENABLE', 'PROTOCOL_FEATURES was not negotiated', 'VHOST_NOT_NEGOTIATED');
    return rings.enable(payload);
  },
};
