/** What tests of a back end's session begin with. */
import { expect } from 'vitest';
import { loadNative } from '../../native/index.ts';
import { backEnds, type World } from './back-end.ts';
import { temporaryFolder } from './folder.ts';
import { ID, PROTOCOL, PROTOCOL_FEATURES, tellMemory, tellRing, VERSION_1, words } from './raw-front-end.ts';

/** Makes back ends in a folder of the test file's own. */
export function sessions() {
  const native = loadNative();
  const inFolder = temporaryFolder();
  return { native, inFolder, world: backEnds(native, inFolder) };
}

/** A payload that is one number. */
export const u64 = (bytes: Uint8Array | undefined): bigint =>
  new DataView(bytes!.buffer, bytes!.byteOffset).getBigUint64(0, true);

/** Bytes of memory that a test shares. */
export const SIZE = 65_536n;

/** A front end whose ring 0 runs. */
export async function running(w: World, features = VERSION_1 | PROTOCOL_FEATURES, protocol = PROTOCOL & ~(1n << 16n)) {
  const front = await w.ready(features, protocol);
  const shared = w.shared();
  await tellMemory(front, shared);
  const fds = await tellRing(front, 0);
  await front.done(ID.SET_VRING_ENABLE, words(0, 1));
  expect([...w.owner.running.keys()]).toEqual([0]);
  return { front, shared, ...fds };
}
