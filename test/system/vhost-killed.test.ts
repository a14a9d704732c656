/** linecard is killed while testpmd at the other end of the socket sends, and another process takes its place. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect } from 'vitest';
import { temporaryFolder } from '../fakes/folder.ts';
import { Testpmd } from '../fakes/testpmd.ts';
import { testWith } from '../fakes/tools.ts';

/** LINECARD_KILLS=50 before a release: a round is mostly the start of a process. */
const KILLS = Number(process.env.LINECARD_KILLS ?? 3);
const ROUND_MS = 10_000;

const inFolder = temporaryFolder();
const cleanUp: (() => void | Promise<void>)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

/** A linecard in its own process, and what it says, line by line. */
class Linecard {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly lines: AsyncIterator<string>;

  constructor(port: string) {
    const script = fileURLToPath(new URL('../fakes/vhost-child.mjs', import.meta.url));
    this.child = spawn(process.execPath, [script, port]);
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    cleanUp.push(() => this.kill());
  }

  async says(): Promise<Record<string, unknown>> {
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`it ended: ${String(this.child.stderr.read())}`);
    return JSON.parse(value) as Record<string, unknown>;
  }

  /** Has it stop in order; resolves to what its ledger says. */
  end(): Promise<Record<string, unknown>> {
    this.child.stdin.end();
    return this.says();
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }
}

/** Ours and testpmd's end. Whoever may come back is the one that calls, but for a front end, which always does. */
const ENDS = [
  ['back', 'split', (path: string) => `vhost-user:${path},client=1,memory=2`, 'net_virtio_user0,server=1,queue_size=256,path='],
  ['back', 'packed', (path: string) => `vhost-user:${path},client=1,memory=2`, 'net_virtio_user0,server=1,queue_size=256,packed_vq=1,path='],
  ['front', 'split', (path: string) => `virtio-user:${path},wait=9`, 'net_vhost0,iface='],
  ['front', 'packed', (path: string) => `virtio-user:${path},wait=9,packed=1`, 'net_vhost0,iface='],
] as const; // biome-ignore format: a table

describe.each(ENDS)('linecard is the %s end, %s rings', (end, rings, ours, theirs) => {
  testWith(
    'dpdk-testpmd',
    `killed ${KILLS} times while testpmd sends, the next process has packets within 300 ms, and accounts for each`,
    async () => {
      const path = inFolder(`killed-${end}-${rings}`);
      const options = ['--port-topology=loop', '--forward-mode=txonly', '--no-flush-rx', '--disable-link-check'];
      const pmd = new Testpmd(`${theirs}${path}`, ...options, '--auto-start');
      cleanUp.push(() => pmd.kill());
      const times: number[] = [];
      let linecard = new Linecard(ours(path));
      for (let round = 0; round <= KILLS; round++) {
        expect(await linecard.says()).toEqual({ ready: true });
        const { flowing } = await linecard.says();
        if (round > 0) times.push(flowing as number);
        if (round === KILLS) break;
        await linecard.kill();
        linecard = new Linecard(ours(path));
      }
      const { errors, lost, received, accepted, left } = await linecard.end();
      expect([errors, lost]).toEqual([[], 0]);
      expect(received).toBeGreaterThanOrEqual(1000);
      expect(left).toBe(accepted);
      const sorted = times.toSorted((a, b) => a - b);
      console.info(
        `ms: median ${sorted[sorted.length >> 1]!.toFixed(1)}, max ${sorted.at(-1)!.toFixed(1)} of ${KILLS}`,
      );
      expect(sorted.at(-1)).toBeLessThan(300);
    },
    30_000 + KILLS * ROUND_MS,
  );
});
