/** How large the buffers are that a controller fills, and whether a port's packets fit. Pure. */
import type { FramesPlan } from '../../arena/frames-plan.ts';
import { segmentsOf } from '../../arena/segments.ts';
import { DeviceError } from '../../errors.ts';
import { L2_OVERHEAD } from '../../pktio/memory-port.ts';
import type { PortConfig } from '../../pktio/types.ts';
import { MAX_SEGMENTS } from '../../queue.ts';
import { STANDARD_BUFFER, STANDARD_BYTES } from './regs.ts';

/** Bytes of an FCS, which the device may write before it strips it. */
const FCS = 4;
/** Sizes of buffers that a controller can be told, in bytes, largest first. */
const SIZES = [...Array.from({ length: 15 }, (_, i) => (15 - i) * 1024), 512, 256];

/** What is to fit. */
export interface Fit extends Pick<PortConfig, 'mtu' | 'rxQueues' | 'rxRing'> {
  readonly name: string;
  readonly pool: Pick<FramesPlan, 'count' | 'frameSize' | 'headroom'>;
  /** The controller drops packets above any length that it is told, not only above the standard one. */
  readonly limitsLength: boolean;
  /** Sizes below a KiB can be told. */
  readonly small: boolean;
}

/** How a controller is to fill buffers. */
export interface Buffers {
  /** What it is told of their size, in bytes. */
  readonly told: number;
  /** What it may write into one: less, where it drops longer packets. */
  readonly bytes: number;
  /** Packets above the standard length are received. */
  readonly long: boolean;
  /** Most buffers of a packet. */
  readonly segments: number;
}

/** Throws `MTU_TOO_LARGE`, `POOL_TOO_SMALL`, `BAD_FRAME_SIZE`. */
export function fitBuffers(fit: Fit): Buffers {
  const { name, mtu, rxQueues, rxRing, pool, limitsLength } = fit;
  const what = `port ${name}`;
  if (rxQueues * rxRing >= pool.count) {
    throw new DeviceError('POOL_TOO_SMALL', {
      what,
      why: `${rxQueues} rx rings of ${rxRing} would hold all of the ${pool.count} frames`,
      fix: 'use smaller rings (rxRing), or open the engine with more frames',
    });
  }
  const room = pool.frameSize - pool.headroom;
  const length = mtu + L2_OVERHEAD;
  const long = length > STANDARD_BYTES;
  // The device drops what is longer: it never writes more than this, whatever it is told of the buffers' size.
  const most = long ? length + FCS : STANDARD_BUFFER;
  if (most <= room && (limitsLength || !long)) {
    return { told: Math.max(2048, Math.ceil(most / 1024) * 1024), bytes: Math.min(room, most), long, segments: 1 };
  }
  const told = SIZES.find((size) => size <= room && (fit.small || size >= 1024));
  if (told === undefined) {
    const why = `it fills buffers of 1024 bytes at least, and frames have room for ${room}`;
    throw new DeviceError('BAD_FRAME_SIZE', { what, why, fix: 'open the engine with frameSize: 2048 or more' });
  }
  const segments = length > told ? segmentsOf(length, told) : 1;
  const cut = segments > 1 && length <= room;
  if (cut || Math.ceil(length / told) > Math.min(MAX_SEGMENTS, rxRing - 2)) {
    throw new DeviceError('MTU_TOO_LARGE', {
      what,
      why: `it fills ${told} bytes of a frame, so packets of ${length} would lie in several though a frame has room for ${room}`,
      fix: `lower the MTU to ${(long && STANDARD_BUFFER <= room ? STANDARD_BYTES : told) - L2_OVERHEAD}, or open the engine with frames twice as large (frameSize)`,
    });
  }
  return { told, bytes: told, long, segments };
}
