import { describe, expect, test } from 'vitest';
import { statusLines } from '../../lib/cli/status-text.ts';
import { RegistryError } from '../../lib/errors.ts';
import type { Attempt, Device, Explanation } from '../../lib/framework/types.ts';

const framework = { drivers: () => [], devios: () => [], enumerators: () => [], classes: () => [] };
const api = { name: 'devio-x', version: 2 };
const attempt = (stage: Attempt['stage'], reason: string): Attempt => ({
  driver: 'd',
  driverVersion: '1.2.3',
  devio: 'devio-x v2',
  backend: 'b',
  stage,
  reason,
});

function device(
  id: string,
  state: Device['state'],
  attempts: readonly Attempt[] = [],
): { device: Device; explanation: Explanation } {
  const bound =
    state === 'bound' ? { driver: 'd', devio: { api, backend: 'b' } } : { driver: undefined, devio: undefined };
  const view = {
    id,
    address: id,
    enumerator: { name: 'e', class: 'c', api },
    facts: {},
    state,
    pktio: undefined,
    ...bound,
  };
  return { device: view as Device, explanation: { device: id, state, summary: `${id} is ${state}`, attempts } };
}

const lines = (...explanations: ReturnType<typeof device>[]) => statusLines({ explanations, asked: [], framework });

describe('the status as text', () => {
  test('says how devices come to exist when there is none', () => {
    expect(lines().slice(0, 2)).toEqual([
      'Devices: none',
      '  some exist once they are asked for: linecard status PORT…',
    ]);
  });

  test('has a line per device, and why it is as it is', () => {
    expect(lines(device('c/e/1', 'bound'), device('c/e/22', 'unbound')).slice(0, 6)).toEqual([
      'Devices',
      '  Device  State    Driver  Devio',
      '  c/e/1   bound    d       devio-x v2',
      '  c/e/22  unbound  -       -',
      '',
      'c/e/1 is bound',
    ]);
  });

  test('lists the attempts when there were several, but not what was never meant for the device', () => {
    const attempts = [
      attempt('class', 'no'),
      attempt('enumerator-api', 'no'),
      attempt('usable', 'not loaded'),
      attempt('probe', 'too old'),
    ];
    const text = lines(device('c/e/1', 'unbound', attempts));
    expect(text.filter((line) => line.startsWith('  d 1.2.3'))).toEqual([
      '  d 1.2.3 through devio-x v2 (b): usable: not loaded',
      '  d 1.2.3 through devio-x v2 (b): probe: too old',
    ]);
  });

  test('does not repeat a single attempt, which the summary is about', () => {
    expect(lines(device('c/e/1', 'unbound', [attempt('probe', 'too old')])).join('\n')).not.toContain('too old');
  });

  test('of a device that was refused and has gone there is only the error', () => {
    const error = new RegistryError('X', { what: 'port p', why: 'no', fix: 'yes' });
    const text = statusLines({
      explanations: [device('c/e/1', 'removed', [attempt('probe', 'no')])],
      asked: [{ name: 'p', error }, { name: 'q' }],
      framework,
    });
    expect(text).toContain('linecard: port p: no; yes [X]');
    expect(text.join('\n')).not.toContain('c/e/1');
  });
});
