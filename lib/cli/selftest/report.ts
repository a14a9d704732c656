/** What came of a selftest, for people and for programs. Pure. */
import type { PollMode } from '../../engine/types.ts';
import { errorData } from '../failure.ts';
import type { Json } from '../json.ts';
import { count, table } from '../text.ts';
import { CHECKS, type Check } from './checks.ts';
import type { Observed } from './trial.ts';

/** A trial that was made: what was seen and checked, or why nothing could be. */
export interface Tried {
  readonly mode: PollMode;
  readonly seen?: Observed;
  readonly checks: readonly Check[];
  readonly error?: Error;
}

/** True when every check passed. */
export const passed = ({ checks, error }: Tried): boolean =>
  error === undefined && checks.every(({ differences }) => differences.length === 0);

/** Why a trial failed, one sentence each. */
const failures = ({ mode, checks, error }: Tried): string[] => [
  ...(error === undefined ? [] : [`${mode}: ${errorData(error).message} [${errorData(error).code}]`]),
  ...checks.flatMap(({ name, differences }) => differences.map((text) => `${mode}, ${name}: ${text}`)),
];

const RIGHT = { align: 'right' } as const;
const COLUMNS = [
  { title: 'mode' },
  ...CHECKS.map((title) => ({ title })),
  { title: 'seconds', ...RIGHT },
  { title: 'frames/s', ...RIGHT },
];

function row({ mode, checks, seen }: Tried, frames: number): string[] {
  const results = CHECKS.map((name) => {
    const found = checks.find((one) => one.name === name);
    return found === undefined ? '-' : found.differences.length === 0 ? 'ok' : 'FAILED';
  });
  if (seen === undefined) return [mode, ...results];
  const { seconds } = seen;
  return [mode, ...results, seconds.toFixed(1), seconds > 0 ? count(Math.round(frames / seconds)) : '-'];
}

/** The table, what differs, and the verdict. */
export function reportLines(trials: readonly Tried[], frames: number): string[] {
  const wrong = trials.filter((trial) => !passed(trial));
  const foreign = trials.reduce((sum, { seen }) => sum + (seen?.ping.foreign ?? 0n), 0n);
  return [
    ...table(
      COLUMNS,
      trials.map((trial) => row(trial, frames)),
    ),
    ...(foreign === 0n ? [] : ['', `${count(foreign)} packets of somebody else came in between`]),
    '',
    ...trials.flatMap(failures),
    wrong.length === 0 ? 'passed' : `FAILED: ${wrong.map(({ mode }) => mode).join(', ')}`,
  ];
}

/** The same for programs. */
export function reportJson(trials: readonly Tried[]): { readonly [key: string]: Json } {
  return { type: 'selftest', passed: trials.every(passed), trials: trials.map(trialJson) };
}

function trialJson(trial: Tried): Json {
  const { mode, seen, error, checks } = trial;
  return {
    mode,
    passed: passed(trial),
    error: error === undefined ? undefined : { code: errorData(error).code, message: errorData(error).message },
    checks: checks.map(({ name, differences }) => ({ name, ok: differences.length === 0, differences })),
    seconds: seen?.seconds,
    notes: seen?.notes,
    ping: seen?.ping,
    sleeps: seen?.sleeps,
    interrupts: seen?.interrupts,
    ports: seen?.ports.map(({ name, driver, stats, device }) => ({ name, driver, ...stats, device })),
  };
}
