/** Which port forwards to which: DPDK's `--portmap`, and what is done without. Pure. */
import { usageError } from './failure.ts';

const OPTION = 'option --portmap';

/** For each port, the port that its packets leave by. */
export type PortMap = readonly number[];

/** Neighbours: 0 ↔ 1, 2 ↔ 3 …; an odd number makes a ring, one port sends to itself. */
export function defaultPortMap(ports: number): PortMap {
  return Array.from({ length: ports }, (_, i) => (ports % 2 === 0 ? i ^ 1 : (i + 1) % ports));
}

/** Reads `(0,1),(2,3)`, also in square brackets and with spaces: the two ports of a pair forward to each other. */
export function parsePortMap(text: string, names: readonly string[]): PortMap {
  const pairs = pairsOf(text);
  const to: (number | undefined)[] = names.map(() => undefined);
  const set = (from: number, other: number) => {
    if (from >= names.length) {
      throw usageError(
        OPTION,
        `there is no port ${from}`,
        `ports are 0 to ${names.length - 1}, in the order in which they are given`,
      );
    }
    if (to[from] !== undefined)
      throw usageError(OPTION, `port ${from} (${names[from]}) is in two pairs`, 'name each port once');
    to[from] = other;
  };
  for (const [a, b] of pairs) {
    set(a, b);
    if (a !== b) set(b, a);
  }
  return to.map((other, port) => {
    if (other !== undefined) return other;
    throw usageError(
      OPTION,
      `port ${port} (${names[port]}) is in no pair`,
      'put each port into one; (n,n) sends port n’s packets back',
    );
  });
}

function pairsOf(text: string): [number, number][] {
  const compact = text.replaceAll(/\s/g, '');
  const list = /^\[(.*)\]$/.exec(compact)?.[1] ?? compact;
  if (!/^\(\d+,\d+\)(,\(\d+,\d+\))*$/.test(list)) {
    throw usageError(OPTION, `"${text}" is no list of pairs`, 'write it as "(0,1),(2,3)", in quotes');
  }
  return [...list.matchAll(/\((\d+),(\d+)\)/g)].map(([, a, b]) => [Number(a), Number(b)]);
}
