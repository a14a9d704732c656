/** Whether an interface's packets fit the engine's frames, and the frames AF_XDP. Pure. */
import type { FramesPlan } from '../../arena/frames-plan.ts';
import { DeviceError } from '../../errors.ts';
import { L2_OVERHEAD } from '../../pktio/memory-port.ts';
import type { PortConfig } from '../../pktio/types.ts';
import { XDP_MAX_SEGMENTS, XDP_PACKET_HEADROOM } from './regs.ts';

/** What is to fit. */
export interface Fit extends Pick<PortConfig, 'mtu' | 'rxQueues' | 'rxRing'> {
  /** The port's name, and its interface's. */
  readonly name: string;
  readonly interface: string;
  readonly pool: Pick<FramesPlan, 'count' | 'frameSize' | 'headroom'>;
}

/** Bytes of a packet that the kernel puts into one frame: it keeps 256 of each for itself. */
const roomOf = ({ pool: { frameSize, headroom } }: Fit): number => frameSize - Math.max(headroom, XDP_PACKET_HEADROOM);

/** Whether the longest packet takes more than one frame. */
export const needsSeveral = (fit: Fit): boolean => fit.mtu + L2_OVERHEAD > roomOf(fit);

/** `MTU_TOO_LARGE`: packets take more than `frames` frames, and that cannot be. */
export function tooLarge(
  fit: Fit,
  why: string,
  { frames = 1, cause }: { frames?: number; cause?: unknown } = {},
): Error {
  const room = roomOf(fit);
  const where = frames === 1 ? 'frames' : `${frames} frames`;
  const larger = fit.pool.frameSize === 2048 ? ', or open the engine with frameSize: 4096' : '';
  return new DeviceError(
    'MTU_TOO_LARGE',
    {
      what: `port xdp:${fit.name}`,
      why: `packets of ${fit.mtu + L2_OVERHEAD} bytes do not fit into ${where} with room for ${room}, and ${why}`,
      fix: `lower its MTU (ip link set ${fit.interface} mtu ${room * frames - L2_OVERHEAD})${larger}`,
    },
    { cause },
  );
}

/**
 * Throws `BAD_FRAME_SIZE`, `MTU_TOO_LARGE`, `POOL_TOO_SMALL`. `zeroCopy`: nothing else will do. Where the kernel copies, its
 * limit on the frames of a packet is known; a device's own is not asked for.
 */
export function checkFit(fit: Fit, zeroCopy: boolean): void {
  const { count, frameSize } = fit.pool;
  const what = `port xdp:${fit.name}`;
  if (frameSize !== 2048 && frameSize !== 4096) {
    const remedy = 'open the engine with frameSize: 2048 or 4096';
    throw new DeviceError('BAD_FRAME_SIZE', {
      what,
      why: `AF_XDP cannot use frames of ${frameSize} bytes`,
      fix: remedy,
    });
  }
  if (needsSeveral(fit) && zeroCopy) {
    throw tooLarge(fit, 'packets of several frames are copied, which zero-copy=1 forbids');
  }
  if (fit.mtu + L2_OVERHEAD > roomOf(fit) * XDP_MAX_SEGMENTS) {
    throw tooLarge(fit, 'a packet may have no more of them', { frames: XDP_MAX_SEGMENTS });
  }
  if (fit.rxQueues * fit.rxRing >= count) {
    throw new DeviceError('POOL_TOO_SMALL', {
      what,
      why: `${fit.rxQueues} rx rings of ${fit.rxRing} would hold all of the ${count} frames`,
      fix: 'use smaller rings (rxRing), or open the engine with more frames',
    });
  }
}
