/** `linecard demo`: l2fwd between two virtio-net ports; generator and sink are behind their back ends. */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
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

/** Names of ports: near ends, the drivers, are forwarded between; far ends, their back ends, send and receive. */
interface Ends {
  readonly near: readonly string[];
  readonly far: readonly string[];
}

/** The ends of two vhost-user sockets in `folder`. */
export const endsIn = (folder: string): Ends => ({
  near: ['left', 'right'].map((name) => `virtio-user:${join(folder, name)}`),
  far: ['left', 'right'].map((name) => `vhost-user:${join(folder, name)},memory=1`),
});

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
export function demoJobs(cpus: number, traffic: TrafficFlags, { near, far }: Ends): JobSpec[] {
  const groups = groupsFor(cpus);
  const forward = forwardingJobs(near, [1, 0], 1, { module: 'l2fwd', options: { macUpdating: true } });
  return [
    ...forward.map((job, i) => ({ ...job, group: groups.forward[i] })),
    { app: { module: 'gen', options: given({ ...traffic }) }, tx: far, group: groups.gen },
    ...far.map((port): JobSpec => ({ app: { module: 'sink' }, rx: { port }, group: groups.sink })),
  ];
}

/** What the demo does, in a few lines. */
function introduce({ size = 60, rate = 0, flows = 1 }: TrafficFlags, time: number): string[] {
  const speed = rate === 0 ? 'as many as possible' : packetRate(rate);
  const end = time > 0 ? `Ends after ${time} s, or at Ctrl-C.` : 'Ends at Ctrl-C.';
  const flowText = flows === 1 ? 'one flow' : `${count(flows)} flows`;
  return [
    'l2fwd drives two virtio-net devices, whose vhost-user back ends are here, too:',
    'gen → left → l2fwd → right → sink, and back.',
    `gen sends probes of ${count(size)} bytes, ${flowText} each way, ${speed};`,
    `sink checks each one’s sequence and content. ${end}`,
  ];
}

/** Makes the command. */
export function demoCommand(action: Action): Command {
  const command = new Command('demo').description(
    'forward between virtio-net ports, with built-in traffic: no root, no device',
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
    action(async (terminal) => {
      const { size, rate, flows, count: packets } = flags;
      const traffic = { size, rate, flows, count: packets };
      const pace = paceOf(flags);
      const cpus = flags.cpus?.length ?? availableParallelism();
      const folder = mkdtempSync(join(tmpdir(), 'linecard-'));
      const ends = endsIn(folder);
      const work = {
        title: 'demo',
        intro: introduce(traffic, pace.time),
        engine: engineOptions(flags),
        // Back ends first: drivers connect to them.
        ports: portWishes([...ends.far, ...ends.near], flags),
        jobs: demoJobs(cpus, traffic, ends),
        judge: judgeClosed,
      };
      try {
        return await drive(work, pace, terminal);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }),
  );
}
