/** The ports of a run: started for it, watched, and stopped after it; what they counted, also when they have gone. */

import { inTime } from '../deadline.ts';
import { PortError } from '../errors.ts';
import { L2_OVERHEAD } from '../pktio/memory-port.ts';
import { addCounters } from '../pktio/stats.ts';
import type { Pktio, PortStats, QueueHandle } from '../pktio/types.ts';
import type { PortFigures } from './ledger.ts';

/** Longest that a port may take to flush, and to stop, in milliseconds. */
const PORT_MS = 10_000;

/** Who is told what happens to ports. */
export interface PortWatcher {
  error(port: string, error: Error, fatal: boolean): void;
  /** A port wants its workers to look at its queues. */
  wake(): void;
  /** The queues of `port` are to be made anew. */
  stuck(port: Pktio, why: Error): void;
}

interface Entry {
  readonly port: Pktio;
  readonly forget: () => void;
  /** Set when it has left the run. */
  last?: PortStats;
}

/** The ports of one run. */
export class RunPorts {
  private readonly entries = new Map<string, Entry>();
  private readonly watcher: PortWatcher;

  constructor(watcher: PortWatcher) {
    this.watcher = watcher;
  }

  /**
   * Starts `port` with `txQueues` tx queues for a run with bursts of `burst` frames with `room` bytes each. Throws
   * `FRAMES_TOO_SMALL`, `BURST_TOO_SMALL`, `WRONG_STATE`, and what starting it throws; it is stopped then.
   */
  async start(port: Pktio, txQueues: number, { room, burst }: { room: number; burst: number }): Promise<void> {
    const { name } = port;
    checkFit(port, room, burst);
    const wanted = Math.max(txQueues, port.capability.txQueues.min);
    if (wanted !== port.config.txQueues) port.configure({ txQueues: wanted });
    await port.start();
    const { watcher } = this;
    const onError = (error: Error, fatal: boolean) => watcher.error(name, error, fatal);
    const onWake = () => watcher.wake();
    const onStuck = (why: Error) => watcher.stuck(port, why);
    port.on('error', onError).on('wake', onWake).on('stuck', onStuck);
    const forget = () => port.off('error', onError).off('wake', onWake).off('stuck', onStuck);
    this.entries.set(name, { port, forget });
  }

  /** Those that have not left. */
  get here(): readonly Pktio[] {
    return [...this.entries.values()].filter(({ last }) => last === undefined).map(({ port }) => port);
  }

  /** Frames in the rings of those that have not left, ring by ring. Exact while nobody works with them. */
  rings(): Iterable<number>[] {
    return this.here.flatMap(({ queues }) => [...queues.rx, ...queues.tx].map((queue) => queue.held()));
  }

  /** Counters of this run by port name. */
  stats(): Record<string, PortStats> {
    return Object.fromEntries([...this.entries].map(([name, { port, last }]) => [name, last ?? totals(port)]));
  }

  /** Counters, and the number of frames in the tx rings of each, and of empty ones in its rx rings. */
  figures(): PortFigures[] {
    return [...this.entries].map(([name, { port, last }]) => {
      const inside = (queues: readonly QueueHandle[]) =>
        last === undefined ? queues.reduce((sum, queue) => sum + [...queue.held()].length, 0) : 0;
      const { rx, tx } = port.queues;
      return { name, stats: last ?? totals(port), inRings: inside(tx), posted: inside(rx) };
    });
  }

  /** `port` goes away: its counters are kept as they are now. */
  leave(port: Pktio): void {
    for (const entry of this.entries.values()) {
      if (entry.port !== port || entry.last !== undefined) continue;
      entry.last = totals(port);
      entry.forget();
    }
  }

  /** Resolves when what was transmitted has left the ports, or their time is up. */
  async flush(): Promise<void> {
    await Promise.all(this.here.map((port) => this.attempt(port, 'flush', () => port.flush())));
    for (const { queues } of this.here) for (const queue of queues.tx) queue.settle();
  }

  /** Stops those that are still here. What fails is told. */
  async stop(): Promise<void> {
    const started = this.here.filter((port) => port.state === 'started');
    await Promise.all(started.map((port) => this.attempt(port, 'stop', () => port.stop())));
    for (const { forget } of this.entries.values()) forget();
  }

  private async attempt(port: Pktio, what: string, action: () => Promise<void>): Promise<void> {
    try {
      if (await inTime(action(), PORT_MS)) return;
      const why = `it had not ended after ${PORT_MS / 1000} s`;
      throw new PortError('PORT_TIMEOUT', {
        what: `${what} of port ${port.name}`,
        why,
        fix: 'see what its device waits for',
      });
    } catch (error) {
      this.watcher.error(port.name, error as Error, true);
    }
  }
}

/** A port's longest packet must fit its frames, and a burst. */
function checkFit({ name, mtu, capability }: Pktio, room: number, burst: number): void {
  const longest = mtu + L2_OVERHEAD;
  const frames = Math.ceil(longest / room);
  const detail = { port: name, longest, room, burst };
  const refuse = (code: string, why: string, fix: string): never => {
    throw new PortError(code, { what: `port ${name}`, why, fix }, { detail });
  };
  const most = capability.segments * room;
  if (longest > most) {
    const several = capability.segments === 1 ? '' : ` in each of ${capability.segments}`;
    refuse(
      'FRAMES_TOO_SMALL',
      `its packets have up to ${longest} bytes (MTU ${mtu}), and the engine's frames have room for ${room}${several}`,
      `open the engine with a larger frameSize, or the port with an MTU of up to ${most - L2_OVERHEAD}`,
    );
  }
  if (frames > burst) {
    refuse(
      'BURST_TOO_SMALL',
      `its packets of up to ${longest} bytes (MTU ${mtu}) take ${frames} frames, and a burst has ${burst}`,
      `open the engine with burst: ${frames} or more, or with a larger frameSize`,
    );
  }
}

/** Counters of a started port in this run: its queues are made anew for each. */
function totals(port: Pktio): PortStats {
  const sum = (direction: 'rx' | 'tx') =>
    port.queues[direction].map((_, queue) => port.queueStats(direction, queue)).reduce(addCounters, {});
  return { rx: sum('rx'), tx: sum('tx') };
}
