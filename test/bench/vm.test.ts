import { describe, expect, it } from 'vitest';
import { parseRates } from '../../bench/vm/forwarders.ts';
import { formatModels } from '../../bench/vm/report.ts';

const port = (n: number, pps: number) => `
  ######################## NIC statistics for port ${n}  ########################
  RX-packets: 254872     RX-missed: 0          RX-bytes:  16313216
  Throughput (since last show)
  Rx-pps:        ${pps}          Rx-bps:     15792712
  Tx-pps:        31615          Tx-bps:     16187160
`;

describe('testpmd’s rates', () => {
  it('are summed over both ports, for each time that they were shown', () => {
    expect(parseRates(port(0, 30) + port(1, 31) + port(0, 40) + port(1, 42))).toEqual([61, 82]);
  });

  it('are refused when a port’s are missing, or all', () => {
    for (const text of ['', 'EAL: nothing', port(0, 1)]) expect(() => parseRates(text)).toThrow('dpdk-testpmd');
  });
});

describe('The tables of cards in a guest', () => {
  const rounds = [
    { ours: [1000, 3000, 2000], testpmd: [1000] },
    { ours: [4000], testpmd: [1000, 1000] },
    { ours: [1000], testpmd: [1000] },
  ];
  const low = { mode: 'interrupt', rate: 100, cpu: 0.0123, sent: 10, received: 9, p50: 123.4, p99: 900.6 } as const;

  it('have the median of the rounds’ ratios, and their range', () => {
    const lines = formatModels([{ model: 'e1000e', rounds, lowRates: [] }]);
    expect(lines.at(-1)).toMatch(/^e1000e +3 +2\.00 \[1\.00-4\.00\] +1\.00 \[1\.00-1\.00\] +2\.00 +1\.00-4\.00$/);
  });

  it('have no round trips where nothing was sent', () => {
    const idle = { ...low, rate: 0, sent: 0, received: 0, p50: Number.NaN, p99: Number.NaN };
    const lines = formatModels([{ model: 'virtio-net', rounds: [], lowRates: [low, idle] }]);
    expect(lines.at(-2)).toMatch(/^virtio-net +interrupt +100 +1\.2 % +123 +901 +1$/);
    expect(lines.at(-1)).toMatch(/^virtio-net +interrupt +idle +1\.2 % +- +- +-$/);
  });
});
