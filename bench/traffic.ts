/** Traffic over the wires: frames from a0, more than anybody can forward, and how many of them reach b0. */

import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Child } from './child.ts';
import type { Sample } from './contestant.ts';
import { type Placement, readText } from './machine.ts';
import { promptly } from './waiting.ts';
import { type Interface, type Space, traversed, type Wires } from './wires.ts';

const START_MS = 10_000;
const REPLY_MS = 5000;
const AGAIN_MS = 50;
/** From the first frame to the first reading: rings get full. */
const SETTLE_MS = 30;
/** Ethertype for experiments (IEEE 802, "Local Experimental Ethertype 1"). */
const ETHER_TYPE = '88b5';
/** Bytes of a frame without FCS. */
const LENGTH = 60;

/** A generator and a sink. */
export interface Traffic {
  /** Offers frames and counts those that arrive for `ms` milliseconds. */
  sample(ms: number): Promise<Sample>;
  close(): Promise<void>;
}

async function startChild(wires: Wires, space: Space, cpu: number, ...role: string[]): Promise<Child> {
  const script = fileURLToPath(new URL('./wire-child.js', import.meta.url));
  // Sending is one system call that only a signal ends: should this process die, so must the child, or it sends for ever.
  const bound = ['setpriv', '--pdeathsig', 'KILL', 'taskset', '-c', String(cpu)];
  const [command, ...args] = wires.inside(space, ...bound, process.execPath, script, ...role);
  const child = new Child({ name: `${role[0]} frames`, command, args, quit: '' });
  try {
    await child.expect(/ready\n/, START_MS);
  } catch (error) {
    await child.close();
    throw error;
  }
  return child;
}

/** Returns a frame from a0 to b0, in hexadecimal. */
export function frameOf({ ends }: Pick<Wires, 'ends'>): string {
  const header = `${ends.b0.mac}${ends.a0.mac}`.replaceAll(':', '') + ETHER_TYPE;
  return header.padEnd(LENGTH * 2, '0');
}

/** Has it stop sending. It may not have begun: a signal before the call would end nothing, so another follows. */
async function stop(generator: Child): Promise<void> {
  const signal = () => generator.signal('SIGUSR2');
  const again = setInterval(signal, AGAIN_MS);
  try {
    signal();
    await generator.expect(/stopped\n/, REPLY_MS);
  } finally {
    clearInterval(again);
  }
}

/** Starts both; nothing is sent yet. */
export async function startTraffic(wires: Wires, { main }: Placement): Promise<Traffic> {
  const { a0, b0 } = wires.ends;
  const sink = await startChild(wires, 'b', main, 'drop', String(b0.index));
  const generator = await startChild(wires, 'a', main, 'send', String(a0.index), frameOf(wires)).catch(
    async (error) => {
      await sink.close();
      throw error;
    },
  );
  const counters = ({ name }: Interface, { pid }: Child) => traversed(name, readText(`/proc/${pid}/net/dev`));
  const reading = () =>
    promptly(async () => {
      const at = process.hrtime.bigint();
      return { at, sent: counters(a0, generator).offered, received: counters(b0, sink).received };
    });
  return {
    async sample(ms) {
      generator.send('start');
      await sleep(SETTLE_MS);
      const before = await reading();
      await sleep(ms);
      const after = await reading();
      await stop(generator);
      const ns = Number(after.at - before.at);
      return { packets: after.received - before.received, ns, offered: after.sent - before.sent };
    },
    async close() {
      await generator.close();
      await sink.close();
    },
  };
}
