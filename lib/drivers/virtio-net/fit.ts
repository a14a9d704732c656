/** Whether a port's packets and rings fit the frames that the engine has. Pure. */
import type { FramesPlan } from '../../arena/frames-plan.ts';
import { DeviceError } from '../../errors.ts';
import { L2_OVERHEAD } from '../../pktio/memory-port.ts';
import type { PortConfig } from '../../pktio/types.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';

/** What is to fit. */
export interface Fit extends Pick<PortConfig, 'mtu' | 'rxQueues' | 'rxRing'> {
  readonly name: string;
  readonly pool: Pick<FramesPlan, 'count' | 'frameSize' | 'headroom'>;
  /** Frames that a packet may have. */
  readonly segments: number;
}

/** Bytes of a packet in `frames` frames: its header is in the first. */
const roomOf = ({ pool: { frameSize, headroom } }: Pick<Fit, 'pool'>, frames: number): number =>
  (frameSize - headroom) * frames - NET_HDR_BYTES;

/** A packet may need several frames. */
export const needsSeveral = (fit: Pick<Fit, 'pool' | 'mtu'>): boolean => fit.mtu + L2_OVERHEAD > roomOf(fit, 1);

/** Throws `NO_HEADROOM` (a packet's header goes before it, into the same frame), `MTU_TOO_LARGE`, `POOL_TOO_SMALL`. */
export function checkFit(fit: Fit): void {
  const { name, mtu, rxQueues, rxRing, segments, pool } = fit;
  const { count, headroom } = pool;
  const what = `port ${name}`;
  if (headroom < NET_HDR_BYTES) {
    const why = `its header needs ${NET_HDR_BYTES} bytes before each packet, and frames have ${headroom}`;
    throw new DeviceError('NO_HEADROOM', { what, why, fix: 'open the engine with headroom: 64 or more' });
  }
  const room = roomOf(fit, segments);
  if (mtu + L2_OVERHEAD > room) {
    const where = segments === 1 ? 'a frame' : `${segments} frames`;
    throw new DeviceError('MTU_TOO_LARGE', {
      what,
      why: `packets of ${mtu + L2_OVERHEAD} bytes do not fit into ${where} with room for ${room}`,
      fix: `lower the MTU to ${room - L2_OVERHEAD}, or open the engine with larger frames (frameSize)`,
    });
  }
  if (rxQueues * rxRing >= count) {
    throw new DeviceError('POOL_TOO_SMALL', {
      what,
      why: `${rxQueues} rx rings of ${rxRing} would hold all of the ${count} frames`,
      fix: 'use smaller rings (rxRing), or open the engine with more frames',
    });
  }
}
