/** gen: a packet generator. Transmits probes (`lib/wire/probe.ts`) that `sink` can check. */
import { PlanError, PortError } from '../../lib/errors.ts';
import type { App, AppContext, PortFacts } from '../../lib/queue.ts';
import { makeProbeWriter, PROBE_FLOWS, PROBE_FRAME_MIN } from '../../lib/wire/probe.ts';
import { makeTemplates } from './flows.ts';
import { checkOptions, wholeNumber } from './options.ts';
import { makePacer } from './pacer.ts';
import { makeStream } from './stream.ts';

/** Options of `gen`. All may be left out. */
export interface GenOptions {
  /** Length of each frame in bytes, without FCS: 60 (the least, and the default) to the ports' MTU + 14. */
  readonly size?: number;
  /** Packets per second, over all tx queues together; 0, the default, is as many as possible. */
  readonly rate?: number;
  /** Number of flows (UDP 5-tuples) on each tx queue, sent in turn; 1 if absent. */
  readonly flows?: number;
  /** Number of the first flow, 0 if absent: generators whose packets reach one sink need flows of their own. */
  readonly firstFlow?: number;
  /** Packets after which it is done; 0, the default, is never. */
  readonly count?: number;
  /** Chooses the flows' UDP ports, and with them the queues that RSS spreads them over; 0 if absent. */
  readonly seed?: number;
  /** Destination MAC address; 02:00:00:00:00:N if absent, N the tx queue's port. */
  readonly destination?: string;
}

const KNOWN = ['size', 'rate', 'flows', 'firstFlow', 'count', 'seed', 'destination'];
/** When to try again, in microseconds, while a tx queue is full or frames are missing. */
const RETRY_US = 100;

/**
 * Sends round robin over the tx queues, up to one burst to each per call. Patient: what a tx queue does not accept is
 * offered again. Counters: `sent`; `retries`, bursts that were offered again because a queue was full, and `starved`,
 * bursts that found too few free frames: nothing of them is lost; `missed`, packets that the rate asked for and that were
 * given up, over a tenth of a second late.
 *
 * Throws PlanError `BAD_APP_OPTION` and `NO_TX_QUEUE`, PortError `BAD_FRAME_SIZE` and `BAD_MAC`.
 */
export const gen: App<GenOptions> = (context) => {
  const plan = check(context);
  const { tx, burst } = context;
  const queues = tx.length;
  const parts = {
    ...plan,
    write: makeProbeWriter(context.frames.i32, makeTemplates(context.txPorts, plan), plan.size),
    sent: context.counter('sent'),
    full: context.counter('retries'),
    dry: context.counter('starved'),
  };
  const streams = tx.map((_, i) => makeStream(context, i, parts));
  const most = plan.rate === 0 ? burst * queues : burst;
  const pacer = makePacer(context.clock, plan.rate, most, context.counter('missed'));
  const left = Float64Array.of(plan.count === 0 ? Number.POSITIVE_INFINITY : plan.count);
  let turn = 0;
  let finished = false;

  /** Nothing moved, or all was sent: says when to call again, if ever. */
  function rest(due: number, held: number): void {
    if (held > 0 || due > 0) context.wakeAfter(RETRY_US);
    else if (left[0] > 0) context.wakeAfter(pacer.wait());
    else if (!finished) {
      finished = true;
      context.finish();
    }
  }

  return () => {
    const due = left[0] > 0 ? Math.min(pacer.due(), left[0]) | 0 : 0;
    let made = 0;
    let moved = 0;
    let held = 0;
    for (let i = 0; i < queues; i = (i + 1) | 0) {
      const stream = streams[(turn + i) % queues];
      // The first queues get one more when `due` is no multiple: packet by packet this is round robin.
      made = (made + stream.make(((due + queues - 1 - i) / queues) | 0)) | 0;
      moved = (moved + stream.offer()) | 0;
      held = (held + stream.held()) | 0;
    }
    turn = (turn + made) % queues;
    left[0] -= made;
    pacer.take(made);
    if (moved === 0) rest(due, held);
    return moved;
  };
};

/** The options, complete. */
export type GenPlan = Required<Omit<GenOptions, 'destination'>> & { readonly destination: string | undefined };

function check(context: AppContext<GenOptions>): GenPlan {
  const { options, frames, txPorts, tx } = context;
  checkOptions('gen', options, KNOWN);
  if (tx.length === 0) {
    const why = 'it has no tx queue to send through';
    throw new PlanError('NO_TX_QUEUE', { what: 'gen', why, fix: 'name at least one tx queue in its job' });
  }
  const whole = (key: Exclude<keyof GenOptions, 'destination'>, min: number, max: number, absent: number): number =>
    wholeNumber('gen', key, options[key], { min, max, absent });
  const size = whole('size', 0, Number.MAX_SAFE_INTEGER, PROBE_FRAME_MIN);
  for (const port of txPorts) checkSize(size, port, frames.room);
  const firstFlow = whole('firstFlow', 0, PROBE_FLOWS - 1, 0);
  return {
    size,
    firstFlow,
    flows: whole('flows', 1, Math.floor((PROBE_FLOWS - firstFlow) / tx.length), 1),
    rate: whole('rate', 0, 1e9, 0),
    count: whole('count', 0, Number.MAX_SAFE_INTEGER, 0),
    seed: whole('seed', 0, 0xffff_ffff, 0),
    destination: options.destination,
  };
}

/** Bytes of a frame that the MTU does not count: the Ethernet header. */
const HEADER = 14;

function checkSize(size: number, port: PortFacts, room: number): void {
  const max = Math.min(port.mtu + HEADER, room);
  if (size >= PROBE_FRAME_MIN && size <= max) return;
  const why =
    size < PROBE_FRAME_MIN
      ? `headers and probe alone take ${PROBE_FRAME_MIN} bytes`
      : `port ${port.name} has an MTU of ${port.mtu} bytes and frames have room for ${room}`;
  const fix = `choose a size from ${PROBE_FRAME_MIN} to ${max}${size > max ? ', or raise the MTU or the frame size' : ''}`;
  const detail = { size, min: PROBE_FRAME_MIN, max, port: port.name };
  throw new PortError('BAD_FRAME_SIZE', { what: `gen with frames of ${size} bytes`, why, fix }, { detail });
}
