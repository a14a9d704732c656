/** ping: a generator and a sink in one job. Sends probes, so many at a time, and checks those that come back. */
import { PlanError } from '../../lib/errors.ts';
import type { App, AppContext } from '../../lib/queue.ts';
import { makeProbeWriter, PROBE_FRAME_MIN } from '../../lib/wire/probe.ts';
import { makeTemplates } from './flows.ts';
import { checkOptions, wholeNumber } from './options.ts';
import { sink } from './sink.ts';
import { makeStream } from './stream.ts';

/** Options of `ping`. All may be left out. */
export interface PingOptions {
  /** Probes to send; 0, the default, sends none: what comes is received and judged all the same. */
  readonly count?: number;
  /** Length of each frame in bytes, without FCS: 60, the least, if absent. */
  readonly size?: number;
  /** Most probes under way at once: 64 if absent. What is on its way never needs more room than that. */
  readonly window?: number;
  /** Microseconds of silence before each window, 0 if absent: long enough, and every worker on the way falls asleep. */
  readonly pauseUs?: number;
}

const KNOWN = ['count', 'size', 'window', 'pauseUs'];
const MOST_PROBES = 0x7fff_ffff;
const MOST_PAUSE_US = 1_000_000;
/** When to try again, in microseconds, while the tx queue is full or frames are missing. */
const RETRY_US = 100;

/**
 * Sends `count` probes and waits for each to come back, through whoever is behind its tx queue, to its rx queue. One that is
 * lost leaves a place of the window empty for good, so it comes to a standstill rather than to a wrong end; whoever started
 * it looks at the counters. They are `gen`'s `sent`, `retries` and `starved`, and all of `sink`'s.
 *
 * Throws PlanError `BAD_APP_OPTION`, `INCOMPLETE_JOB`.
 */
export const ping: App<PingOptions> = (context) => {
  const { count, size, window, pauseUs } = check(context);
  const { burst, clock } = context;
  const stream = makeStream(context, 0, {
    size,
    flows: 1,
    write: makeProbeWriter(context.frames.i32, templatesFor(context, size), size),
    sent: context.counter('sent'),
    full: context.counter('retries'),
    dry: context.counter('starved'),
  });
  let made = 0;
  let back = 0; // of ours: all that was received but what is foreign
  const noting = (name: string): ((n: number) => void) => {
    const add = context.counter(name);
    const sign = name === 'received' ? 1 : name === 'foreign' ? -1 : 0;
    if (sign === 0) return add;
    return (n) => {
      back = (back + sign * n) | 0;
      add(n);
    };
  };
  const receive = sink({ ...context, counter: noting, options: { flows: 1 } });
  const silentSince = Float64Array.of(clock.now()); // in memory: a double in a closure would be an allocation each time

  /** How many microseconds of the silence are left. */
  function pause(): number {
    return pauseUs - (clock.now() - silentSince[0]) / 1000;
  }

  /** How many may be sent now. */
  function due(): number {
    const left = Math.min(count - made, window - (made - back), burst) | 0;
    if (pauseUs === 0 || left <= 0 || made !== back) return Math.max(left, 0);
    const wait = pause();
    if (wait > 0) context.wakeAfter(Math.ceil(wait));
    return wait > 0 ? 0 : left;
  }

  return () => {
    const came = receive();
    if (came > 0) silentSince[0] = clock.now();
    made = (made + stream.make(due())) | 0;
    const moved = stream.offer();
    if (came === 0 && moved === 0 && stream.held() > 0) context.wakeAfter(RETRY_US);
    return (came + moved) | 0;
  };
};

function check({ options, rxPort, txPorts, frames }: AppContext<PingOptions>): Required<PingOptions> {
  checkOptions('ping', options, KNOWN);
  const [to] = txPorts;
  if (rxPort === null || to === undefined) {
    const why = `its job has no ${to === undefined ? 'tx port' : 'rx queue'}`;
    throw new PlanError('INCOMPLETE_JOB', { what: 'ping', why, fix: 'give the job an rx queue and a tx port' });
  }
  const whole = (key: keyof PingOptions, min: number, max: number, absent: number): number =>
    wholeNumber('ping', key, options[key], { min, max, absent });
  return {
    count: whole('count', 0, MOST_PROBES, 0),
    size: whole('size', PROBE_FRAME_MIN, Math.min(to.mtu + 14, frames.room), PROBE_FRAME_MIN),
    window: whole('window', 1, MOST_PROBES, 64),
    pauseUs: whole('pauseUs', 0, MOST_PAUSE_US, 0),
  };
}

const templatesFor = ({ txPorts }: AppContext<PingOptions>, size: number): Int32Array =>
  makeTemplates(txPorts.slice(0, 1), { size, flows: 1, firstFlow: 0, seed: 0, destination: undefined });
