/** Options of the built-in applications: checked once, when the application is made. */

import { PlanError } from '../../lib/errors.ts';
import type { PortFacts } from '../../lib/queue.ts';

/** What a number among the options may be. */
export interface NumberRule {
  readonly min: number;
  readonly max: number;
  /** Its value when it is not given. */
  readonly absent: number;
}

const refuse = (app: string, option: string, why: string, fix: string): PlanError =>
  new PlanError('BAD_APP_OPTION', { what: `option "${option}" of ${app}`, why, fix }, { detail: { app, option } });

/** Throws PlanError `BAD_APP_OPTION` when `options` has a key that is not in `known`. */
export function checkOptions(app: string, options: object, known: readonly string[]): void {
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) throw refuse(app, key, 'there is no such option', `use ${known.join(', ')}`);
  }
}

/** Returns a whole number in the range of `rule`. Throws PlanError `BAD_APP_OPTION` for anything else. */
export function wholeNumber(app: string, option: string, value: number | undefined, rule: NumberRule): number {
  const { min, max, absent } = rule;
  if (value === undefined) return absent;
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  const why = `${String(value)} is not a whole number from ${min} to ${max}`;
  throw refuse(app, option, why, `give one, or leave it out for ${absent}`);
}

/** Returns one of `values`, the first of them when it is not given. Throws PlanError `BAD_APP_OPTION` otherwise. */
export function oneOf<T extends string>(app: string, option: string, value: T | undefined, values: readonly T[]): T {
  if (value === undefined) return values[0]!;
  if (values.includes(value)) return value;
  throw refuse(app, option, `"${String(value)}" is not one of its values`, `use ${values.join(' or ')}`);
}

/** Whether l2fwd writes addresses between two ports; `asked` is what its options say. */
export const updatesMacs = (
  asked: boolean | undefined,
  from: Pick<PortFacts, 'hosts'>,
  to: Pick<PortFacts, 'hosts'>,
): boolean => asked ?? !(from.hosts || to.hosts);
