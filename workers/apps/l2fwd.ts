/** Layer 2 forwarding: what comes in at the job's rx queue leaves by its first tx port. DPDK's and ODP's l2fwd. */
import { PlanError } from '../../lib/errors.ts';
import { type App, type Burst, DROP, MORE } from '../../lib/queue.ts';
import { macWords, putBurstMacs, putMacs } from '../../lib/wire/mac.ts';
import { checkOptions, updatesMacs } from './options.ts';

/** Options of `l2fwd`. */
export interface L2fwdOptions {
  /**
   * Write the tx port's address as source and 02:00:00:00:00:PORT as destination. If absent: unless hosts are behind
   * either port, which would not find each other any more.
   */
  readonly macUpdating?: boolean;
}

/**
 * Forwards, packets of several segments too. A full tx queue drops, unless the source can wait (a file): then what is left goes with the next call.
 * Throws PlanError `BAD_APP_OPTION`, `INCOMPLETE_JOB`.
 */
export const l2fwd: App<L2fwdOptions> = ({ rx, rxPort, tx: [out], txPorts: [to], frames, burst: size, options }) => {
  checkOptions('l2fwd', options, ['macUpdating']);
  if (rxPort === null || to === undefined) {
    const why = `its job has no ${to === undefined ? 'tx port' : 'rx queue'}`;
    throw new PlanError('INCOMPLETE_JOB', { what: 'l2fwd', why, fix: 'give the job an rx queue and a tx port' });
  }
  const burst = frames.burst(size);
  const updating = updatesMacs(options.macUpdating, rxPort, to);
  const macs = macWords(Uint8Array.of(2, 0, 0, 0, 0, to.index), to.mac);
  const { i32 } = frames;
  const { patient, segments = false } = rx;
  let from = 0; // first frame of the burst that is still ours

  /** Addresses are at the start of a packet's first segment: each entry is one, unless the one before it goes on. */
  function putFirstMacs({ offsets, lengths, count }: Burst): void {
    for (let i = 0; i < count; i = (i + 1) | 0) {
      putMacs(i32, offsets[i], macs);
      while (lengths[i] >= MORE) i = (i + 1) | 0;
    }
  }

  return () => {
    const { offsets } = burst;
    if (from === burst.count) {
      from = 0;
      if (rx.receive(burst) === 0) return 0;
      if (updating && segments) putFirstMacs(burst);
      else if (updating) putBurstMacs(i32, offsets, burst.count, macs);
    }
    const sent = out.transmit(burst, from, burst.count);
    from = (from + sent) | 0;
    if (from < burst.count && !patient) {
      frames.drop(burst, from, burst.count, DROP.tx_full);
      from = burst.count;
    }
    return sent;
  };
};
