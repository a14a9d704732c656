/** Memory that is shared for crashes and migrations: the inflight area and the dirty log. Main thread. */
import { hasFeature } from '../../virtio/features.ts';
import type { Handlers } from '../handler.ts';
import { makeInflight, takeInflight } from '../inflight.ts';
import { takeLog } from '../log.ts';
import { checkSignal } from '../peer-file.ts';
import type { SessionState } from '../state.ts';

/** Puts `next` in the place of an area while rings stand still; it is released again when that fails. */
async function exchange<K extends 'inflight' | 'log'>(
  state: SessionState,
  key: K,
  next: SessionState[K],
): Promise<void> {
  const old = state[key];
  try {
    await state.rings.quiesced(() => {
      state[key] = next;
    });
  } finally {
    (state[key] === next ? old : next)?.release();
  }
}

const isPacked = ({ features }: SessionState): boolean => hasFeature(features ?? 0n, 'RING_PACKED');

export const areaHandlers: Handlers<'GET_INFLIGHT_FD' | 'SET_INFLIGHT_FD' | 'SET_LOG_BASE' | 'SET_LOG_FD'> = {
  async GET_INFLIGHT_FD(state, asked) {
    const { memory, owner } = state;
    const { inflight, fd, answer } = makeInflight(memory, asked, owner.pairs * 2, isPacked(state));
    try {
      await exchange(state, 'inflight', inflight);
    } catch (error) {
      state.native.close(fd);
      throw error;
    }
    return { value: answer, fds: [fd] };
  },
  async SET_INFLIGHT_FD(state, told, fds) {
    const { memory, owner } = state;
    const next = takeInflight(memory, told, fds.peek(0) as number, owner.pairs * 2, isPacked(state));
    await exchange(state, 'inflight', next);
  },
  async SET_LOG_BASE(state, told, fds) {
    await exchange(state, 'log', takeLog(state.memory, told, fds.peek(0) as number, state.table.end));
    return undefined;
  },
  SET_LOG_FD(state, _nothing, fds) {
    checkSignal('SET_LOG_FD', fds.peek(0) as number);
    if (state.logFd >= 0) state.native.close(state.logFd);
    state.logFd = fds.take(0);
  },
};
