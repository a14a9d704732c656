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
  text = '';
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
    for (const stream of [this.child.stdout, this.child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.text += text;
      });
    this.child.stdin.on('error', () => {});
  }

  /** Waits until it has said `what`. */
  async says(what: string, ms = 10_000): Promise<void> {
    try {
      await waitFor(`testpmd says ${what}`, () => this.text.includes(what), ms);
    } catch (error) {
      throw new Error(`${(error as Error).message}; it said: ${this.text.slice(-1500)}`);
    }
  }

  /** Types a command, and returns what it said until the next prompt. */
  async command(line: string): Promise<string> {
    const at = this.text.length;
    this.child.stdin.write(`${line}\n`);
    await waitFor(`testpmd answers ${line}`, () => this.text.slice(at).includes('testpmd> '), 10_000);
    return this.text.slice(at);
  }

  /** kill -9. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'close');
    this.child.kill('SIGKILL');
    await ended;
  }
}
