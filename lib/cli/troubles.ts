/** What goes wrong while a run goes on: told once, when it happens. Asks for the end when a port can go on no more. */

import type { RunEvents, RunResult } from '../engine/results.ts';
import type { Run } from '../engine/run.ts';
import { DevioError } from '../errors.ts';
import type { Keeper } from '../pci/keeper.ts';
import type { LinkInfo, Pktio } from '../pktio/types.ts';
import type { Display } from './display.ts';
import type { Stopping } from './stopping.ts';

/** Listens to ports and to a run. */
export class Troubles {
  private readonly display: Pick<Display, 'happened'>;
  private readonly stopping: Pick<Stopping, 'request'>;
  private readonly seen = new WeakSet<Error>();
  /** Ports whose links have been told to be down. */
  private readonly wereDown = new Set<string>();

  constructor(display: Pick<Display, 'happened'>, stopping: Pick<Stopping, 'request'>) {
    this.display = display;
    this.stopping = stopping;
  }

  /** From their opening on: a port can fail before the first packet flows. */
  watchPorts(ports: readonly Pktio[]): void {
    for (const port of ports) {
      port.on('error', (error, fatal) => this.portFailed(port.name, error, fatal));
      // While ports are started and stopped links come and go, which is no news.
      port.on('link', (link) => {
        if (ports.every(({ state }) => state === 'started')) this.linkChanged(port.name, link);
      });
    }
  }

  /** Without it, nobody would stop the cards if this process died. */
  watchKeeper(keeper: Pick<Keeper, 'onLost'>): void {
    keeper.onLost((why) => {
      const text = { what: 'supervising process', why, fix: 'start the command again, with linecard supervise' };
      this.tell('keeper-lost', '', new DevioError('KEEPER_LOST', text));
      this.stopping.request('keeper-lost');
    });
  }

  /** What becomes of jobs and workers. */
  watchRun(run: Run): void {
    const again = (what: string, retryMs: number) => `${what} is started again in ${retryMs / 1000} s`;
    const { display } = this;
    const listeners: { [E in keyof RunEvents]?: (...args: RunEvents[E]) => void } = {
      'job-failed': (job, error, ms) => this.tell('job-failed', job, error, again(`job ${job}`, ms)),
      'job-restarted': (job) => display.happened('job-restarted', job, `job ${job} runs again`),
      'worker-failed': (worker, error, ms) => this.tell('worker-failed', worker, error, again(`worker ${worker}`, ms)),
      'worker-restarted': (worker) => display.happened('worker-restarted', worker, `worker ${worker} runs again`),
      'port-error': (port, error, fatal) => this.portFailed(port, error, fatal),
    };
    for (const [event, listener] of Object.entries(listeners)) run.on(event as keyof RunEvents, listener as () => void);
  }

  /** Errors of the run that came before anybody listened. */
  tellRest({ errors }: Pick<RunResult, 'errors'>): void {
    for (const error of errors) this.tell('error', '', error);
  }

  private portFailed(port: string, error: Error, fatal: boolean): void {
    this.tell('port-error', port, error);
    if (fatal) this.stopping.request('port-failed');
  }

  /** A link that comes up for the first time is as it should be: two ends of a socket are not started in one moment. */
  private linkChanged(port: string, { status, reason }: LinkInfo): void {
    if (status === 'up' && !this.wereDown.delete(port)) return;
    if (status === 'down') this.wereDown.add(port);
    this.display.happened(
      `link-${status}`,
      port,
      `port ${port}: link is ${status}${reason === undefined ? '' : ` (${reason})`}`,
    );
  }

  private tell(event: string, subject: string | number, error: Error, text = ''): void {
    if (this.seen.has(error)) return;
    this.seen.add(error);
    this.display.happened(event, subject, text, error);
  }
}
