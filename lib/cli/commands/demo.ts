/** `linecard demo`: l2fwd between two in-memory links, with a generator and a sink at their far ends. */
import { availableParallelism } from 'node:os';
import { Command, Option } from 'commander';
import type { JobSpec } from '../../engine/types.ts';
import type { Action } from '../action.ts';
import { drive } from '../drive.ts';
import { forwardingJobs } from '../forwarding.ts';
import {
  addEngineOptions,
  addPaceOptions,
  type EngineFlags,
  engineOptions,
  given,
  type PaceFlags,
  type PortFlags,
  paceOf,
  portWishes,
} from '../options.ts';
import { count, packetRate } from '../text.ts';
import { wholeNumber } from '../values.ts';
import { judgeClosed } from '../verdict.ts';
import { addTrafficOptions, type TrafficFlags } from './gen.ts';

/** Near ends are forwarded between; far ends send and receive. */
const NEAR = ['pair:left/0', 'pair:right/0'];
const FAR = ['pair:left/1', 'pair:right/1'];
const SECONDS = 10;

/** Which jobs share a worker. */
interface Groups {
  readonly forward: readonly [string, string];
  readonly gen: string;
  readonly sink: string;
}

/** Forwarding has workers of its own as long as there are cpus: it is what the demo shows. */
function groupsFor(cpus: number): Groups {
  if (cpus >= 5) return { forward: ['left', 'right'], gen: 'gen', sink: 'sink' };
  if (cpus >= 3) return { forward: ['forward', 'forward'], gen: 'gen', sink: 'sink' };
  return { forward: ['forward', 'forward'], gen: 'traffic', sink: 'traffic' };
}

/** The demo's jobs on a machine with so many cpus. */
export function demoJobs(cpus: number, traffic: TrafficFlags): JobSpec[] {
  const groups = groupsFor(cpus);
  const forward = forwardingJobs(NEAR, [1, 0], 1, { module: 'l2fwd', options: {} });
  return [
    ...forward.map((job, i) => ({ ...job, group: groups.forward[i] })),
    { app: { module: 'gen', options: given({ ...traffic }) }, tx: FAR, group: groups.gen },
    ...FAR.map((port): JobSpec => ({ app: { module: 'sink' }, rx: { port }, group: groups.sink })),
  ];
}

/** What the demo does, in three lines. */
function introduce({ size = 60, rate = 0, flows = 1 }: TrafficFlags, time: number): string[] {
  const speed = rate === 0 ? 'as many as possible' : packetRate(rate);
  const end = time > 0 ? `Ends after ${time} s, or at Ctrl-C.` : 'Ends at Ctrl-C.';
  const flowText = flows === 1 ? 'one flow' : `${count(flows)} flows`;
  return [
    'l2fwd forwards between two in-memory links:  gen → left → l2fwd → right → sink,',
    `and back. gen sends probes of ${count(size)} bytes, ${flowText} each way, ${speed};`,
    `sink checks each one’s sequence and content. ${end}`,
  ];
}

/** Makes the command. */
export function demoCommand(action: Action): Command {
  const command = new Command('demo').description(
    'forward between in-memory ports, with built-in traffic: no root, no device',
  );
  addTrafficOptions(command)
    .optionsGroup('Ports:')
    .addOption(
      new Option('--mtu <bytes>', 'largest layer 3 packet (default: 1500)').argParser(
        wholeNumber('--mtu', { min: 1, max: Number.MAX_SAFE_INTEGER }),
      ),
    );
  addPaceOptions(addEngineOptions(command), SECONDS);
  return command.action((flags: TrafficFlags & EngineFlags & PaceFlags & Pick<PortFlags, 'mtu'>) =>
    action((terminal) => {
      const { size, rate, flows, count: packets } = flags;
      const traffic = { size, rate, flows, count: packets };
      const pace = paceOf(flags);
      const cpus = flags.cpus?.length ?? availableParallelism();
      const work = {
        title: 'demo',
        intro: introduce(traffic, pace.time),
        engine: engineOptions(flags),
        ports: portWishes([...NEAR, ...FAR], flags),
        jobs: demoJobs(cpus, traffic),
        judge: judgeClosed,
      };
      return drive(work, pace, terminal);
    }),
  );
}
