/** What a front end tells a back end before frames flow, in the order in which back ends need it. Main thread. */
import type { Segment } from '../arena/arena.ts';
import type { QueueLayout } from '../virtio/transport.ts';
import { F_PROTOCOL_FEATURES, type FrontEnd } from './frontend.ts';
import type { Region } from './payload.ts';
import type { RingFds } from './ring-fds.ts';

/** Our memory as the back end is told of it: by arena offsets, which say nothing of where it really lies. */
function regionOf({ offset, length }: Segment): Region {
  const at = BigInt(offset);
  return { gpa: at, bytes: BigInt(length), uva: at, offset: 0n };
}

/**
 * Tells it of the memory: all at once, or, where it has slots for that, what has come and gone since the last time.
 * `told` is what it knows.
 */
async function tellMemory(front: FrontEnd, segments: readonly Segment[], told: Set<Segment>): Promise<void> {
  if (!front.has('CONFIGURE_MEM_SLOTS')) {
    const fds = segments.map(({ fd }) => fd);
    await front.ask('SET_MEM_TABLE', segments.map(regionOf), fds);
    return;
  }
  for (const segment of [...told].filter((known) => !segments.includes(known))) {
    await front.ask('REM_MEM_REG', regionOf(segment));
    told.delete(segment);
  }
  for (const segment of segments.filter((wanted) => !told.has(wanted))) {
    await front.ask('ADD_MEM_REG', regionOf(segment), [segment.fd]);
    told.add(segment);
  }
}

/**
 * Has the back end make the memory in which it notes what it is working on, and gives it back to it. Whoever comes after
 * a crash is given a new one: the rings begin anew then, and what was in flight is counted by the driver.
 */
async function exchangeInflight(front: FrontEnd, rings: ReadonlyMap<number, QueueLayout>): Promise<void> {
  const queues = Math.max(0, ...rings.keys()) + 1;
  const queueSize = Math.max(1, ...[...rings.values()].map(({ size }) => size));
  const { value, fds } = await front.ask('GET_INFLIGHT_FD', { bytes: 0n, offset: 0n, queues, queueSize });
  try {
    if (value.bytes > 0n && fds.length === 1) await front.ask('SET_INFLIGHT_FD', value, fds);
  } finally {
    for (const fd of fds) front.closeFd(fd);
  }
}

/** Starts one ring; it is not enabled yet. */
export async function startRing(front: FrontEnd, index: number, layout: QueueLayout, fds: RingFds): Promise<void> {
  const { size, packed, desc, driver, device } = layout;
  await front.ask('SET_VRING_NUM', { index, num: size });
  // Both halves: index 0, and for packed rings the wrap counter 1, of what comes next and of what is used next.
  await front.ask('SET_VRING_BASE', { index, num: packed ? 0x8000_8000 : 0 });
  const areas = { desc: BigInt(desc), avail: BigInt(driver), used: BigInt(device) };
  await front.ask('SET_VRING_ADDR', { index, flags: 0, ...areas, log: 0n });
  await front.ask('SET_VRING_CALL', { index, hasFd: true }, [fds.call]);
  await front.ask('SET_VRING_KICK', { index, hasFd: true }, [fds.kick]);
}

/** Memory, then the rings. Features must have been set. */
export async function bringUp(
  front: FrontEnd,
  segments: readonly Segment[],
  told: Set<Segment>,
  rings: ReadonlyMap<number, QueueLayout>,
  fdsOf: (index: number) => RingFds,
): Promise<void> {
  await tellMemory(front, segments, told);
  if (front.has('INFLIGHT_SHMFD')) await exchangeInflight(front, rings);
  for (const [index, layout] of rings) await startRing(front, index, layout, fdsOf(index));
}

async function setEnabled(front: FrontEnd, indexes: readonly number[], num: 0 | 1): Promise<void> {
  // Without protocol features a ring that was started is enabled.
  if ((front.offered & F_PROTOCOL_FEATURES) === 0n) return;
  for (const index of indexes) await front.ask('SET_VRING_ENABLE', { index, num });
}

export const enable = (front: FrontEnd, indexes: readonly number[]): Promise<void> => setEnabled(front, indexes, 1);
export const disable = (front: FrontEnd, indexes: readonly number[]): Promise<void> => setEnabled(front, indexes, 0);
