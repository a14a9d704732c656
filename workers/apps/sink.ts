/** sink: the other end of `gen`. Receives probes, checks every one, and frees the frames. */
import { type App, MORE } from '../../lib/queue.ts';
import { CORRUPT, makeProbeReader, PROBE, PROBE_AT, PROBE_FLOWS } from '../../lib/wire/probe.ts';
import { checkOptions, oneOf, wholeNumber } from './options.ts';
import { makeTracker } from './sequence.ts';

/** Options of `sink`. All may be left out. */
export interface SinkOptions {
  /** Flows with this number and above are foreign: 1 to 65,536, which is the default. */
  readonly flows?: number;
  /** What is verified: `all`, the default, every byte; `header`, lengths, checksums and the probe's own header. */
  readonly verify?: 'all' | 'header';
}

/** What a frame turned out to be: indices of its counters. The first four are the negated results of the tracker. */
const VERDICTS = ['ok', 'late', 'duplicate', 'stale', 'corrupt', 'foreign'] as const;
const OK = 0;
const IS_CORRUPT = 4;
const IS_FOREIGN = 5;

/** Words from a frame's start to the upper half of its sequence; the lower half follows. */
const SEQUENCE = (PROBE_AT + PROBE.sequenceHigh) >>> 2;
const COUNTER_MAX = 0x7fff_ffff;

/**
 * Receives, checks, frees. Counters: `received` is all packets; each of them is also one of
 * `ok` (intact, and ahead of all before it in its flow),
 * `late` (intact, and one that had been passed over: reordered),
 * `duplicate` (intact, but it was there before),
 * `stale` (intact, but over 1,024 behind its flow's highest, where nobody can tell which of the two),
 * `corrupt` (a probe that changed on the way) and
 * `foreign` (no probe, as is every packet of several segments, or of a flow that is not ours).
 * `skipped` is the sequence numbers that were passed over. Counters only go up, so those that came late are still in
 * it: `lost` says what is missing.
 *
 * Throws PlanError `BAD_APP_OPTION`.
 */
export const sink: App<SinkOptions> = (context) => {
  const { rx, frames, options } = context;
  const { segments = false } = rx;
  checkOptions('sink', options, ['flows', 'verify']);
  const flows = wholeNumber('sink', 'flows', options.flows, { min: 1, max: PROBE_FLOWS, absent: PROBE_FLOWS });
  const headerOnly = oneOf('sink', 'verify', options.verify, ['all', 'header']) === 'header';
  const received = context.counter('received');
  const skipped = context.counter('skipped');
  const count = VERDICTS.map((name) => context.counter(name));
  const { i32 } = frames;
  const read = makeProbeReader(i32, flows, headerOnly);
  const track = makeTracker(flows);
  const burst = frames.burst(context.burst);
  const { offsets, lengths } = burst;
  const tally = new Int32Array(VERDICTS.length);
  const passed = new Float64Array(1);
  const touched = new Int32Array(1);

  /** Judges the packet at entry `i`; of those of several segments only that they are there. */
  function judge(i: number): number {
    const at = offsets[i];
    const length = lengths[i];
    if (length >= MORE) return IS_FOREIGN;
    const flow = read(at, length);
    if (flow < 0) return flow === CORRUPT ? IS_CORRUPT : IS_FOREIGN;
    const w = ((at >>> 2) + SEQUENCE) | 0;
    const ahead = track(flow, i32[w], i32[w + 1]);
    if (ahead < 0) return -ahead;
    if (ahead > 0) passed[0] += ahead;
    return OK;
  }
  function report(packets: number): void {
    received(packets);
    for (let v = 0; v < tally.length; v = (v + 1) | 0) {
      if (tally[v] > 0) count[v](tally[v]);
      tally[v] = 0;
    }
    // A counter takes 31 bits at a time. More than one round is for a number that no wire delivers in minutes.
    while (passed[0] > 0) {
      const some = Math.min(passed[0], COUNTER_MAX);
      skipped(some);
      passed[0] -= some;
    }
  }
  return () => {
    const n = rx.receive(burst);
    if (n === 0) return 0;
    // A touch pass, the software's prefetch: loads that do not wait for each other. The store keeps it from being optimised away.
    let touch = 0;
    for (let i = 0; i < n; i = (i + 1) | 0) touch ^= i32[offsets[i] >>> 2];
    touched[0] = touch;
    let packets = 0;
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const verdict = judge(i);
      tally[verdict] = (tally[verdict] + 1) | 0;
      packets = (packets + 1) | 0;
      if (segments) while (lengths[i] >= MORE) i = (i + 1) | 0;
    }
    frames.free(burst, 0, n);
    report(packets);
    return n;
  };
};

/** Of a sink's counters: how many numbers up to each flow's highest never came intact. */
export const lost = (counters: Readonly<Record<string, bigint>>): bigint => counters.skipped! - counters.late!;
