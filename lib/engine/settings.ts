/** Checks an engine's options and fills in what is absent. */
import { PlanError } from '../errors.ts';
import type { EngineOptions } from './types.ts';

type Optional = 'cpus' | 'arenaBytes' | 'keeper';

/** Options with nothing absent that has a default. */
export type EngineSettings = Required<Omit<EngineOptions, Optional>> & Pick<EngineOptions, Optional>;

const DEFAULTS: EngineSettings = {
  frames: 16_384,
  frameSize: 2048,
  headroom: 256,
  hugepages: 'no',
  mode: 'adaptive',
  idleUs: 100,
  burst: 32,
  stallMs: 2000,
  restartMs: [100, 5000],
  drainMs: 1000,
  heapMb: 128,
  inlining: true,
  debugFrames: false,
};

const KNOWN = [...Object.keys(DEFAULTS), 'keeper', 'cpus', 'arenaBytes'];
const RANGES = {
  idleUs: [0, 1_000_000],
  burst: [1, 512],
  stallMs: [500, 600_000],
  drainMs: [0, 600_000],
  heapMb: [16, 65_536],
} as const;
const MODES = ['busy', 'adaptive', 'interrupt'];
/** The longest wait before a restart: an hour. */
const RESTART_MAX_MS = 3_600_000;

function bad(key: string, why: string, fix: string): never {
  throw new PlanError('BAD_OPTION', { what: `engine option ${key}`, why, fix }, { detail: { option: key } });
}

/** Throws `BAD_OPTION` with the option's name. */
export function engineSettings(options: EngineOptions, env: NodeJS.ProcessEnv = process.env): EngineSettings {
  const unknown = Object.keys(options).find((key) => !KNOWN.includes(key));
  if (unknown !== undefined) bad(unknown, 'there is no such option', `options are ${KNOWN.join(', ')}`);
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const settings: EngineSettings = { ...DEFAULTS, ...given };
  for (const [key, [min, max]] of Object.entries(RANGES)) {
    const value = settings[key as keyof typeof RANGES];
    if (Number.isInteger(value) && value >= min && value <= max) continue;
    bad(key, `${String(value)} is not a whole number from ${min} to ${max}`, 'give one in that range');
  }
  const { mode, cpus } = settings;
  if (!MODES.includes(mode)) bad('mode', `there is no mode "${String(mode)}"`, `use ${MODES.join(', ')}`);
  for (const key of ['inlining', 'debugFrames'] as const) {
    if (typeof settings[key] !== 'boolean') bad(key, 'it is not true or false', 'give true or false');
  }
  if (cpus !== undefined && !Array.isArray(cpus)) bad('cpus', 'it is no list', 'give one: [2, 3]');
  checkRestart(settings.restartMs);
  const debug = env.LINECARD_DEBUG?.split(',').includes('frames') ?? false;
  return debug ? { ...settings, debugFrames: true } : settings;
}

function checkRestart(restartMs: unknown): void {
  const [first, last] = Array.isArray(restartMs) && restartMs.length === 2 ? (restartMs as number[]) : [Number.NaN, 0];
  if (first > 0 && last >= first && last <= RESTART_MAX_MS) return;
  bad(
    'restartMs',
    `${JSON.stringify(restartMs)} is not two rising times of up to ${RESTART_MAX_MS}`,
    'use for example [100, 5000]',
  );
}
