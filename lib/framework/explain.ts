/** Why a device is bound the way it is, or not at all. Pure. */
import type { DeviceRecord } from './device.ts';
import { match } from './match.ts';
import type { DevioRecord, DriverRecord } from './records.ts';
import type { Attempt, Explanation } from './types.ts';

/** How far an attempt came: the one that came farthest is the one to mend. */
const STAGES: readonly Attempt['stage'][] = [
  'class',
  'ids',
  'devio',
  'enumerator-api',
  'usable',
  'open',
  'probe',
  'bound',
];

/** Joins what matching says now with what was tried. */
export function explain(
  device: DeviceRecord,
  drivers: readonly DriverRecord[],
  devios: readonly DevioRecord[],
): Explanation {
  const attempts: Attempt[] = [];
  let untried = 0;
  for (const verdict of match(device.view, drivers, devios)) {
    const attempt =
      'refusal' in verdict ? verdict.refusal : device.attempt(verdict.candidate.driver, verdict.candidate.devio);
    if (attempt === undefined) untried++;
    else attempts.push(attempt);
    if (attempt?.stage === 'bound') break;
  }
  const summary = `${device.id} ${summarize(device) ?? `is not bound: ${reasonOf(attempts, drivers.length, untried)}`}`;
  return { device: device.id, state: device.state, summary, attempts };
}

function summarize(device: DeviceRecord): string | undefined {
  const { binding, failure } = device;
  if (device.state === 'removed') return 'has been removed';
  if (binding !== undefined) {
    const { api, backend } = device.view.devio!;
    return `is bound to ${binding.driver.name} ${binding.driver.version} through ${api.name} v${api.version} (${backend})`;
  }
  if (failure !== undefined) return `has failed (${failure.message}) and is left alone until bind() or its removal`;
  if (device.held) return 'was unbound by request and stays so until bind()';
  return undefined;
}

function reasonOf(attempts: readonly Attempt[], drivers: number, untried: number): string {
  if (drivers === 0) return 'no driver is registered';
  if (untried > 0) return 'matching has not come to it yet';
  const best = Math.max(...attempts.map((a) => STAGES.indexOf(a.stage)));
  const closest = attempts.find((a) => STAGES.indexOf(a.stage) === best)!;
  if (closest.stage === 'class') return `none of the ${drivers} registered drivers is for its class`;
  // It may have come as far by several ways, and only people know which of them was meant.
  const ways = attempts.filter(({ driver, stage }) => driver === closest.driver && stage === closest.stage);
  return `driver ${closest.driver}${together(ways)
    .map((way) => `${through(way)}: ${way.reason}`)
    .join('; or')}`;
}

/** Back ends of a devio that are refused for the same reason are one way. */
function together(ways: readonly Attempt[]): Attempt[] {
  const joined = new Map<string, Attempt>();
  for (const way of ways) {
    const key = JSON.stringify([way.devio, way.reason]);
    const known = joined.get(key);
    joined.set(key, known === undefined ? way : { ...known, backend: `${known.backend}, ${way.backend}` });
  }
  return [...joined.values()];
}

const through = ({ devio, backend }: Attempt): string =>
  devio === '' ? '' : ` through ${devio}${backend && ` (${backend})`}`;
