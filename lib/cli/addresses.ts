/** What l2fwd does with MAC addresses between the open ports, and what that asks of them. */

import { updatesMacs } from '../../workers/apps/options.ts';
import type { JobSpec } from '../engine/types.ts';
import type { Pktio } from '../pktio/types.ts';

type Ports = ReadonlyMap<string, Pktio>;
type Pair = readonly [from: Pktio, to: Pktio];

/** The pairs that packets go between, each once per direction. */
function pairsOf(jobs: readonly JobSpec[], ports: Ports): Pair[] {
  const pairs = new Map<string, Pair>();
  for (const { rx, tx: [to] = [] } of jobs) {
    const [a, b] = [ports.get(rx?.port ?? ''), ports.get(to ?? '')];
    if (a !== undefined && b !== undefined) pairs.set(`${a.name} ${b.name}`, [a, b]);
  }
  return [...pairs.values()];
}

const names = (ports: Iterable<Pktio>): string => {
  const all = [...ports].map(({ name }) => name);
  const last = all.at(-1) ?? '';
  return all.length < 2 ? last : `${all.slice(0, -1).join(', ')} and ${last}`;
};

/** Says what becomes of the addresses. `asked` is what the command line says. */
export function addressLines(jobs: readonly JobSpec[], ports: Ports, asked: boolean | undefined): string[] {
  const pairs = pairsOf(jobs, ports);
  const kept = pairs.filter(([from, to]) => !updatesMacs(asked, from.capability, to.capability));
  const hosts = new Set(kept.flat().filter(({ capability }) => capability.hosts));
  const mixed = kept.length > 0 && kept.length < pairs.length;
  const between = ' between other ports';
  return [
    ...(kept.length === 0
      ? []
      : [
          asked === undefined
            ? `MAC addresses kept: hosts are behind ${names(hosts)} (--mac-updating rewrites them)`
            : 'MAC addresses kept',
        ]),
    ...(kept.length === pairs.length
      ? []
      : [
          `MAC addresses rewritten${mixed ? between : ''}${asked === undefined ? ' (--no-mac-updating keeps them)' : ''}`,
        ]),
  ];
}

/**
 * Makes ports promiscuous from which packets go on with their addresses kept: most are for other hosts. Says which; not
 * those that were so already.
 */
export function openWide(jobs: readonly JobSpec[], ports: Ports, asked: boolean | undefined): string[] {
  const wide = new Set(
    pairsOf(jobs, ports)
      .filter(([from, to]) => from.capability.hosts && !updatesMacs(asked, from.capability, to.capability))
      .map(([from]) => from)
      .filter(({ capability, config }) => capability.setPromiscuous && !config.promiscuous),
  );
  for (const port of wide) port.setPromiscuous(true);
  if (wide.size === 0) return [];
  return [`${names(wide)}: promiscuous until the end, since packets for other addresses must come in`];
}
