/** Features, protocol features, ownership, status, reset. Main thread. */
import { FEATURE, featureNames, featureSet, hasFeature, STATUS, unmetFeatures } from '../../virtio/features.ts';
import type { Handlers } from '../handler.ts';
import { MAX_REGIONS } from '../memory.ts';
import { hasProtocol, protocolNames, protocolSet } from '../protocol.ts';
import { refusal } from '../refusal.ts';
import type { SessionState } from '../state.ts';

/** What this back end can do. */
export const BACKEND_PROTOCOL = protocolSet(
  'MQ',
  'LOG_SHMFD',
  'RARP',
  'REPLY_ACK',
  'MTU',
  'BACKEND_REQ',
  'CONFIG',
  'INFLIGHT_SHMFD',
  'RESET_DEVICE',
  'CONFIGURE_MEM_SLOTS',
  'STATUS',
);

/** Set and cleared while rings run, when a migration begins and ends. */
const LOG_ALL = featureSet('LOG_ALL');
const PROTOCOL_FEATURES = 1n << BigInt(FEATURE.PROTOCOL_FEATURES);

function checkFeatures(state: SessionState, features: bigint): void {
  const strange = features & ~(state.owner.features | PROTOCOL_FEATURES | LOG_ALL);
  if (strange !== 0n)
    throw refusal('SET_FEATURES', `${featureNames(strange).join(', ')} was not offered`, 'VHOST_BAD_FEATURES');
  // Front ends answer control commands themselves, and don't tell us of the control queue that they have.
  const unmet = unmetFeatures(features | featureSet('CTRL_VQ'));
  if (unmet.length > 0)
    throw refusal('SET_FEATURES', `${unmet.join(', ')} needs what was not accepted`, 'VHOST_BAD_FEATURES');
  const changed = features ^ (state.features ?? features);
  if (state.rings.running && (changed & ~LOG_ALL) !== 0n) throw refusal('SET_FEATURES', 'rings run', 'VHOST_BAD_STATE');
}

function checkProtocol(protocol: bigint): void {
  const strange = protocol & ~BACKEND_PROTOCOL;
  if (strange !== 0n) {
    const names = protocolNames(strange).join(', ');
    throw refusal('SET_PROTOCOL_FEATURES', `${names} was not offered`, 'VHOST_BAD_FEATURES');
  }
}

/** Back to where a device begins; whose it is, and its memory, stay. */
async function reset(state: SessionState): Promise<void> {
  await state.rings.reset();
  state.inflight?.release();
  state.inflight = undefined;
  state.features = undefined;
  state.status = 0;
}

async function setStatus(state: SessionState, value: bigint): Promise<void> {
  if (value > 0xffn) throw refusal('SET_STATUS', `${value} has more than 8 bits`);
  const status = Number(value);
  if (status === 0) return reset(state);
  const known = Object.values(STATUS).reduce((set: number, bit) => set | bit, 0);
  if ((status & ~known) !== 0) throw refusal('SET_STATUS', `unknown bits in ${status}`);
  // NEEDS_RESET is ours: a driver does not take it back by not saying it.
  if ((state.status & ~STATUS.DEVICE_NEEDS_RESET & ~status) !== 0)
    throw refusal('SET_STATUS', `${status} clears bits of ${state.status}, which only a reset does`, 'VHOST_BAD_STATE');
  const accepted = state.features === undefined ? status & ~STATUS.FEATURES_OK : status;
  state.status = accepted | (state.status & STATUS.DEVICE_NEEDS_RESET);
}

type Mine =
  | 'GET_FEATURES'
  | 'SET_FEATURES'
  | 'GET_PROTOCOL_FEATURES'
  | 'SET_PROTOCOL_FEATURES'
  | 'SET_OWNER'
  | 'RESET_OWNER'
  | 'GET_QUEUE_NUM'
  | 'RESET_DEVICE'
  | 'SET_STATUS'
  | 'GET_STATUS'
  | 'GET_MAX_MEM_SLOTS';

export const featureHandlers: Handlers<Mine> = {
  GET_FEATURES: ({ owner }) => owner.features | PROTOCOL_FEATURES | LOG_ALL,
  async SET_FEATURES(state, features) {
    checkFeatures(state, features);
    const logging = ((state.features ?? 0n) ^ features) & LOG_ALL;
    const first = state.features === undefined;
    if (logging === 0n || !state.rings.running) state.features = features;
    else
      await state.rings.quiesced(() => {
        state.features = features;
      });
    // Without protocol features there is no message that enables a ring.
    if (first && !hasFeature(features, 'PROTOCOL_FEATURES')) await state.rings.enableAll(true);
  },
  GET_PROTOCOL_FEATURES: () => BACKEND_PROTOCOL,
  SET_PROTOCOL_FEATURES(state, protocol) {
    checkProtocol(protocol);
    if (state.rings.running) throw refusal('SET_PROTOCOL_FEATURES', 'rings run', 'VHOST_BAD_STATE');
    state.protocol = protocol;
  },
  SET_OWNER(state) {
    if (state.owned) throw refusal('SET_OWNER', 'it has an owner', 'VHOST_BAD_STATE');
    state.owned = true;
  },
  // Deprecated: "disable all rings" is what is recommended.
  RESET_OWNER: (state) => state.rings.enableAll(false),
  GET_QUEUE_NUM: ({ owner }) => BigInt(owner.pairs),
  RESET_DEVICE: reset,
  SET_STATUS: setStatus,
  GET_STATUS: ({ status }) => BigInt(status),
  GET_MAX_MEM_SLOTS: () => BigInt(MAX_REGIONS),
};

/** True for protocol features that must end the connection: in-band notifications without what they need. */
export const isDeadly = (protocol: bigint): boolean =>
  hasProtocol(protocol, 'INBAND_NOTIFICATIONS') &&
  (!hasProtocol(protocol, 'BACKEND_REQ') || !hasProtocol(protocol, 'REPLY_ACK'));
