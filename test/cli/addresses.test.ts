import { describe, expect, test } from 'vitest';
import { addressLines, openWide } from '../../lib/cli/addresses.ts';
import type { JobSpec } from '../../lib/engine/types.ts';
import type { Pktio } from '../../lib/pktio/types.ts';

/** A port that notes whether it was made promiscuous. */
function port(name: string, hosts: boolean, promiscuous = false) {
  const config = { promiscuous };
  const setPromiscuous = (on: boolean) => {
    config.promiscuous = on;
  };
  return { name, config, setPromiscuous, capability: { hosts, setPromiscuous: hosts } } as unknown as Pktio;
}

const between = (...pairs: [string, string][]): JobSpec[] =>
  pairs.map(([from, to]) => ({ app: { module: 'l2fwd' }, rx: { port: from }, tx: [to] }));
const ports = (...all: Pktio[]) => new Map(all.map((p) => [p.name, p]));
const both = between(['a', 'b'], ['b', 'a']);

describe('MAC addresses', () => {
  test('are rewritten between ports that nobody is behind, as by DPDK’s l2fwd', () => {
    const none = ports(port('a', false), port('b', false));
    expect(addressLines(both, none, undefined)).toEqual(['MAC addresses rewritten (--no-mac-updating keeps them)']);
    expect(addressLines(both, none, false)).toEqual(['MAC addresses kept']);
    expect(openWide(both, none, undefined)).toEqual([]);
  });

  test('are kept where hosts are behind a port, and such ports become promiscuous', () => {
    const two = ports(port('a', true), port('b', true));
    expect(addressLines(both, two, undefined)).toEqual([
      'MAC addresses kept: hosts are behind a and b (--mac-updating rewrites them)',
    ]);
    expect(openWide(both, two, undefined)).toEqual([
      'a and b: promiscuous until the end, since packets for other addresses must come in',
    ]);
    expect([...two.values()].map(({ config }) => config.promiscuous)).toEqual([true, true]);
  });

  test('are rewritten when that was asked for: then nothing but a port’s own packets need come in', () => {
    const two = ports(port('a', true), port('b', true));
    expect(addressLines(both, two, true)).toEqual(['MAC addresses rewritten']);
    expect(openWide(both, two, true)).toEqual([]);
    expect(two.get('a')!.config.promiscuous).toBe(false);
  });

  test('-P has been done already', () => {
    expect(openWide(both, ports(port('a', true, true), port('b', true, true)), undefined)).toEqual([]);
  });

  test('are looked at pair by pair', () => {
    const mixed = ports(port('a', true), port('b', false), port('c', false), port('d', false));
    const jobs = [...both, ...between(['c', 'd'], ['d', 'c'])];
    expect(addressLines(jobs, mixed, undefined)).toEqual([
      'MAC addresses kept: hosts are behind a (--mac-updating rewrites them)',
      'MAC addresses rewritten between other ports (--no-mac-updating keeps them)',
    ]);
    expect(openWide(jobs, mixed, undefined)).toEqual([
      'a: promiscuous until the end, since packets for other addresses must come in',
    ]);
  });
});
