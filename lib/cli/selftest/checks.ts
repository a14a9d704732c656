/** What a trial must have shown: each check passes, or says in a sentence what differs. Pure. */
import type { PollMode } from '../../engine/types.ts';
import { count, plural } from '../text.ts';
import { type Observed, type ObservedPort, SINGLES } from './trial.ts';

/** What is checked, in this order. */
export const CHECKS = ['bring-up', 'frames', 'statistics', 'polling', 'stop'] as const;

/** A check and what differs; nothing when it passed. */
export interface Check {
  readonly name: (typeof CHECKS)[number];
  readonly differences: readonly string[];
}

/** Counters that are no mishaps. */
const FINE = { rx: ['packets', 'bytes', 'extra_frames'], tx: ['packets', 'bytes', 'extra_frames', 'completed'] };
/** Good packets as Intel's registers count them (82574L datasheet 3.4 §10.2.7), and ours of the same. */
const REGISTERS = { gprc: 'rx', gptc: 'tx' } as const;

/** Checks the trial of `frames` probes, sent many at a time, in `mode`. */
export function check(seen: Observed, mode: PollMode, frames: number): Check[] {
  const sent = BigInt(frames + SINGLES);
  // Nothing was sent, so there is nothing else to be seen.
  if (seen.down.length > 0) return [{ name: 'bring-up', differences: bringUp(seen) }];
  const differences = [[], passage(seen, sent), statistics(seen), polling(seen, mode), ending(seen)];
  return CHECKS.map((name, i) => ({ name, differences: differences[i]! }));
}

function bringUp({ down, errors }: Observed): string[] {
  return [...down.map((name) => `the link of ${name} did not come up`), ...errors.map(({ message }) => message)];
}

/** Every probe came back once, unchanged, in order. */
function passage({ ping }: Observed, wanted: bigint): string[] {
  const { sent = 0n, received = 0n, foreign = 0n, ok = 0n } = ping;
  const back = received - foreign;
  const wrong = ['corrupt', 'duplicate', 'stale', 'late'].filter((name) => (ping[name] ?? 0n) > 0n);
  return [
    ...(sent === wanted ? [] : [`${count(sent)} of ${plural(wanted, 'frame')} could be sent`]),
    ...(back === sent ? [] : [`${plural(sent, 'frame')} went out, ${count(back)} came back`]),
    ...(ok === back ? [] : [`of them ${wrong.map((name) => `${count(ping[name]!)} ${name}`).join(', ')}`]),
  ];
}

/** What one transmitted the other received, and what the registers say is what the queues say. */
function statistics({ ports, ping }: Observed): string[] {
  const [near, far] = ports as readonly [ObservedPort, ObservedPort];
  const { foreign = 0n } = ping;
  return [...wire(near, far, foreign), ...wire(far, near, foreign), ...ports.flatMap(own)];
}

/** `foreign` packets came from somebody else: so many more may have been received than were sent. */
function wire(from: ObservedPort, to: ObservedPort, foreign: bigint): string[] {
  return (['packets', 'bytes'] as const).flatMap((unit) => {
    const [sent, received] = [from.stats.tx[unit]!, to.stats.rx[unit]!];
    const most = unit === 'packets' ? sent + foreign : foreign === 0n ? sent : received;
    if (received >= sent && received <= most) return [];
    return [`${from.name} transmitted ${count(sent)} ${unit}, ${to.name} received ${count(received)}`];
  });
}

function own({ name, stats, device }: ObservedPort): string[] {
  const mishaps = (['rx', 'tx'] as const).flatMap((direction) =>
    Object.entries(stats[direction])
      .filter(([counter, n]) => n !== 0n && !FINE[direction].includes(counter))
      .map(([counter, n]) => `${name} counted ${count(n)} ${direction}_${counter}`),
  );
  const { packets, extra_frames = 0n, completed = 0n } = stats.tx;
  const accepted = packets! + extra_frames;
  const unsent =
    accepted === completed ? [] : [`${name} completed ${count(completed)} of ${plural(accepted, 'frame')}`];
  const registers = Object.entries(REGISTERS).flatMap(([register, direction]) => {
    const [theirs, ours] = [device[register], stats[direction].packets!];
    if (theirs === undefined || theirs === ours) return [];
    return [`${name} counts ${count(theirs)} in its register ${register}, its queues ${count(ours)}`];
  });
  return [...mishaps, ...unsent, ...registers];
}

/** Busy workers never sleep; the others do, and packets wake them. */
function polling({ sleeps, ports, workers, singleInterrupts }: Observed, mode: PollMode): string[] {
  if (mode === 'busy') return sleeps === 0n ? [] : [`busy workers slept ${plural(sleeps, 'time')}`];
  if (sleeps === 0n) return ['no worker ever slept'];
  // A single probe finds the forwarding worker asleep, which only its interrupt can wake. Where one worker does both, what it
  // sends may be there before it falls asleep.
  if (workers < 2 || ports.some(({ interrupts }) => !interrupts) || singleInterrupts >= BigInt(SINGLES)) return [];
  return [`${SINGLES} frames, one by one, caused ${plural(singleInterrupts, 'interrupt')}`];
}

function ending({ ledger, errors }: Observed): string[] {
  return [...ledger.errors, ...errors.map(({ message }) => message)];
}
