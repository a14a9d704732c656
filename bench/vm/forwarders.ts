/** Two forwarders between the cards of one wire, on which packets go round: what one card sends the other receives. */
import { SystemError } from '../../lib/errors.ts';
import { type BenchGuest, JOINED } from './bench-guest.ts';

/** Packets that go round, in each direction, and their length without FCS. */
const IN_FLIGHT = 128;
const LENGTH = 60;
const BURST = 32;
/** Seconds of a sample, and how many there are. */
const SAMPLE_S = 2;
const SAMPLES = 4;
/** Samples that are left out: under emulation it takes seconds until a loop is compiled, by V8 and by the emulator. */
const WARM_UP = 5;
const RUN_MS = 120_000;
/** Until an emulated link is up; testpmd waits for it by itself. */
const LINK_MS = 3000;

/** Packets per second, one number for each sample: all that was received. */
export type Rates = (bench: BenchGuest) => Promise<number[]>;

interface Period {
  readonly type: string;
  readonly ports: readonly { readonly rx: { readonly pps: number } }[];
  readonly ledger?: { readonly balanced: boolean };
}

/** linecard's l2fwd, after it has put the packets on the wire. */
export const ours: Rates = async ({ guest, linecard }) => {
  const options = JSON.stringify({ frames: IN_FLIGHT, afterMs: LINK_MS });
  const app = `--app ./dist/bench/apps/circulate.js#circulate --app-options '${options}'`;
  const seconds = SAMPLE_S * (WARM_UP + SAMPLES + 1) - 1;
  const pace = `-T ${SAMPLE_S} --time ${seconds} -j`;
  const ports = JOINED.map((address) => `pci:${address}`).join(' ');
  const engine = `--mode busy --burst ${BURST} --hugepages need`;
  const output = await guest.run(linecard(`l2fwd ${app} ${engine} -P ${pace} ${ports}`), RUN_MS);
  const lines = output.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as Period] : []));
  const periods = lines.filter(({ type }) => type === 'period');
  return periods.slice(WARM_UP).map((period) => period.ports.reduce((sum, { rx }) => sum + rx.pps, 0));
};

/** What testpmd prints of a port: packets received per second since it was asked the last time. */
const RECEIVED = /^\s*Rx-pps:\s*(\d+)/gm;

/** Returns the sums of each pair of ports in what `show port stats all` printed again and again. */
export function parseRates(text: string): number[] {
  const rates = [...text.matchAll(RECEIVED)].map(([, number]) => Number(number));
  if (rates.length === 0 || rates.length % 2 !== 0) {
    const why = `it told of ${rates.length} ports' rates; its last words: ${text.slice(-400)}`;
    throw new SystemError('TESTPMD_OUTPUT', { what: 'dpdk-testpmd', why, fix: 'use DPDK 22.11' });
  }
  return Array.from({ length: rates.length / 2 }, (_, i) => rates[2 * i]! + rates[2 * i + 1]!);
}

/** testpmd, which sends the packets first and then forwards them, with the addresses that it gives them. */
export const testpmd: Rates = async ({ guest }) => {
  const commands = [
    `set txpkts ${LENGTH}`,
    `start tx_first ${IN_FLIGHT / BURST}`,
    ...Array.from({ length: WARM_UP + SAMPLES }, () => ['', 'show port stats all']).flat(),
    ...['stop', 'quit'],
  ];
  // It reads a line when it has done what the one before it says: an empty one is a wait.
  const typed = commands.map((line) => (line === '' ? `sleep ${SAMPLE_S}` : `echo ${line}`)).join('; ');
  const eal = `--lcores 0@0,1@0 --no-telemetry --in-memory ${JOINED.map((address) => `-a ${address}`).join(' ')}`;
  const options = `-i --forward-mode=mac --burst=${BURST} --no-mlockall --total-num-mbufs=16384`;
  const script = `mkfifo -m 600 /run/typed; stdbuf -oL dpdk-testpmd ${eal} -- ${options} < /run/typed > /run/testpmd 2>&1 &
    exec 3> /run/typed; rm /run/typed
    until grep -q 'testpmd> ' /run/testpmd || ! kill -0 $!; do sleep 0.2; done
    (${typed}) >&3; exec 3>&-; wait; cat /run/testpmd`;
  return parseRates(await guest.run(script, RUN_MS)).slice(WARM_UP);
};
