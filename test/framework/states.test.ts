import { describe, expect, it } from 'vitest';
import { DeviceError } from '../../lib/errors.ts';
import { mayMove, nextState } from '../../lib/framework/states.ts';
import type { DeviceState } from '../../lib/framework/types.ts';

const ALL: readonly DeviceState[] = ['unbound', 'probing', 'bound', 'unbinding', 'failed', 'removed'];
const LEGAL = [
  ...['unbound probing', 'probing bound', 'bound unbinding', 'unbinding unbound'],
  ...['probing unbound', 'probing failed', 'unbinding failed', 'failed unbound'],
  ...['unbound removed', 'failed removed'],
];

describe('states of a device', () => {
  const pairs = ALL.flatMap((from) => ALL.map((to) => ({ from, to })));

  it.each(pairs)('from $from to $to', ({ from, to }) => {
    const legal = LEGAL.includes(`${from} ${to}`);
    expect(mayMove(from, to)).toBe(legal);
    if (legal) expect(nextState('d', from, to)).toBe(to);
    else expect(() => nextState('d', from, to)).toThrow(DeviceError);
  });

  it('a removed device goes nowhere, and a bound one only by way of unbinding', () => {
    expect(ALL.filter((to) => mayMove('removed', to))).toEqual([]);
    expect(ALL.filter((to) => mayMove('bound', to))).toEqual(['unbinding']);
  });
});
