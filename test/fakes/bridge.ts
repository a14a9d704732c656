/** l2fwd between the wires of a test, by the engine as it was built; and what runs over it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { type Engine, openEngine, type Pktio, type Run, type RunResult } from 'linecard';
import { linkCounts, shAsync, type Wire, waitFor } from './netns.ts';

/** How the two wires are joined. */
export interface BridgeOptions {
  readonly mode?: 'busy' | 'adaptive' | 'interrupt';
  /** Options of the port names, as `,mode=skb`. */
  readonly port?: string;
  readonly queues?: number;
  readonly frameSize?: number;
}

/** A running bridge. */
export interface Bridge {
  readonly engine: Engine;
  readonly run: Run;
  readonly names: readonly [string, string];
  /** Stops the run and closes the engine. */
  stop(): Promise<RunResult>;
}

/** Opens an engine that forwards everything between `a` and `b`. */
export async function bridge(a: Wire, b: Wire, options: BridgeOptions = {}): Promise<Bridge> {
  const { mode = 'adaptive', port = '', queues = 1, frameSize = 2048 } = options;
  const engine = await openEngine({ mode, frameSize, frames: 16_384 });
  try {
    const ports: Pktio[] = [];
    for (const { name } of [a, b]) ports.push(await engine.open(`xdp:${name}${port}`, { rxQueues: queues }));
    const app = { module: 'l2fwd', options: { macUpdating: false } };
    const jobs = [0, 1].flatMap((side) =>
      Array.from({ length: queues }, (_, queue) => ({
        app,
        rx: { port: ports[side]!.name, queue },
        tx: [ports[1 - side]!.name],
        group: String(queue),
      })),
    );
    const run = await engine.run(jobs);
    const stop = async () => {
      const result = await run.stop();
      await engine.close();
      return result;
    };
    return { engine, run, names: [ports[0]!.name, ports[1]!.name], stop };
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** What a port has received and sent, and the kernel at the other end of its wire. */
export interface Both {
  readonly rx: number;
  readonly tx: number;
}

/** Packets through each port since a moment, as we count them and as the other end's kernel does. */
export class Audit {
  private readonly bridge: Bridge;
  private readonly wires: readonly Wire[];
  private readonly before: readonly { ours: Both; kernel: Both }[];

  private constructor(of: Bridge, wires: readonly Wire[]) {
    this.bridge = of;
    this.wires = wires;
    this.before = this.now();
  }

  /** Begins, once nothing is under way any more. */
  static async begin(of: Bridge, ...wires: Wire[]): Promise<Audit> {
    await quiet(wires);
    return new Audit(of, wires);
  }

  private now(): { ours: Both; kernel: Both }[] {
    const { ports } = this.bridge.run.stats();
    return this.wires.map(({ space }, i) => {
      const name = this.bridge.names[i]!;
      const { rx, tx } = ports[name]!;
      // What came faster than the worker took it: the kernel says how many, for each reason.
      const { rx_dropped = 0n, rx_ring_full = 0n } = this.bridge.engine.ports.get(name)!.extraStats!();
      const { rx: received, tx: sent } = linkCounts('eth0', space);
      // What the far end sent we receive, and the other way round.
      return {
        // Frames that were sent less those that packets had beyond one each: packets, as long as none of these failed.
        ours: { rx: Number(rx.packets + rx_dropped + rx_ring_full), tx: Number(tx.completed - tx.extra_frames!) },
        kernel: { rx: sent, tx: received },
      };
    });
  }

  /** Per wire, once all is quiet. */
  async end(): Promise<{ ours: Both; kernel: Both }[]> {
    await quiet(this.wires);
    const less = (a: Both, b: Both): Both => ({ rx: a.rx - b.rx, tx: a.tx - b.tx });
    return this.now().map(({ ours, kernel }, i) => ({
      ours: less(ours, this.before[i]!.ours),
      kernel: less(kernel, this.before[i]!.kernel),
    }));
  }
}

/** Waits until the far ends' counters stand still for 300 ms. */
async function quiet(wires: readonly Wire[]): Promise<void> {
  let last = '';
  let since = performance.now();
  await waitFor(
    'the wires come to rest',
    () => {
      const now = JSON.stringify(wires.map(({ space }) => linkCounts('eth0', space)));
      if (now !== last) since = performance.now();
      last = now;
      return performance.now() - since > 300;
    },
    20_000,
  );
}

/** What iperf3 says of one second. */
export interface Iperf {
  readonly bitsPerSecond: number;
  readonly bytes: number;
}

/** Runs iperf3 from `a` to `b` for a second. */
export async function iperf(a: Wire, b: Wire, ...more: string[]): Promise<Iperf> {
  const server = spawn('ip', ['netns', 'exec', b.space, 'iperf3', '-s', '-1', '-p', '5201'], { stdio: 'ignore' });
  try {
    await waitFor('iperf3 listens', async () => (await b.run('ss -Hltn sport = :5201')).includes('5201'));
    const out = await shAsync(`ip netns exec ${a.space} iperf3 -c ${b.address} -t 1 -J ${more.join(' ')}`);
    const { sum_received, sum } = (
      JSON.parse(out) as { end: Record<string, { bits_per_second: number; bytes: number }> }
    ).end;
    const got = (sum_received ?? sum)!;
    return { bitsPerSecond: got.bits_per_second, bytes: got.bytes };
  } finally {
    end(server);
  }
}

/** Ends a child of ours. */
export function end(child: ChildProcess): void {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
}
