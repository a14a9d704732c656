/** DPDK's testpmd as the other end of a vhost-user socket (DPDK 22.11, "Testpmd Application User Guide"). */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { waitFor } from './netns.ts';

const HUGE = '/sys/kernel/mm/hugepages/hugepages-2048kB';
const PAGES = 128;
let made = 0;

/** Whether there are huge pages for one testpmd; root makes some. */
function hasHugePages(): boolean {
  const read = (name: string): number => Number(readFileSync(`${HUGE}/${name}`, 'utf8'));
  try {
    const missing = PAGES - read('free_hugepages');
    if (missing > 0 && process.getuid?.() === 0)
      writeFileSync(`${HUGE}/nr_hugepages`, String(read('nr_hugepages') + missing));
    return read('free_hugepages') >= PAGES;
  } catch {
    return false;
  }
}

export class Testpmd {
  /** What it printed, and its log: they come at the same time, and a line of one may begin in the middle of the other's. */
  private out = '';
  private log = '';
  private readonly child: ChildProcessWithoutNullStreams;

  /** `vdev` is its port: `net_vhost0,iface=…` or `net_virtio_user0,path=…`. */
  constructor(vdev: string, ...options: readonly string[]) {
    const memory = hasHugePages()
      ? ['--in-memory', '--single-file-segments']
      : ['--no-huge', '-m', '256', '--no-shconf'];
    const prefix = `linecard-test-${process.pid}-${made++}`;
    const eal = ['--lcores', '0@0,1@1', '--no-pci', '--no-telemetry', `--file-prefix=${prefix}`, ...memory];
    const args = [...eal, '--vdev', vdev, '--', '-i', '--no-mlockall', '--total-num-mbufs=8192', ...options];
    this.child = spawn('dpdk-testpmd', args, { stdio: 'pipe' });
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
    });
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
    this.child.stdin.on('error', () => {});
  }

  /** What it printed so far. */
  get text(): string {
    return this.out;
  }

  /** Whether it has said `what`. */
  has(what: string): boolean {
    return this.out.includes(what) || this.log.includes(what);
  }

  /** Waits until it has said `what`. */
  async says(what: string, ms = 10_000): Promise<void> {
    try {
      await waitFor(`testpmd says ${what}`, () => this.has(what), ms);
    } catch (error) {
      throw new Error(`${(error as Error).message}; it said: ${this.out.slice(-800)}\n${this.log.slice(-800)}`);
    }
  }

  /** Types a command, and returns what it printed until the next prompt. */
  async command(line: string): Promise<string> {
    const at = this.out.length;
    this.child.stdin.write(`${line}\n`);
    await waitFor(`testpmd answers ${line}`, () => this.out.slice(at).includes('testpmd> '), 10_000);
    return this.out.slice(at);
  }

  /** kill -9. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'close');
    this.child.kill('SIGKILL');
    await ended;
  }
}
