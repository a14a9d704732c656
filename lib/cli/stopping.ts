/** Why a command ends, and the first reason to do so: a signal, the time, a failure. */
import { constants } from 'node:os';
import type { Terminal } from './terminal.ts';

/** Why a run ended. `sources` means by itself: nothing could bring another packet. */
export type StopReason = 'time' | 'signal' | 'sources' | 'port-failed' | 'output-closed' | 'keeper-lost';

/** Whether that is no good end. */
export const isFailure = (reason: StopReason | undefined): boolean =>
  reason === 'port-failed' || reason === 'keeper-lost';

/** Waits for the first reason. Signals are heard from its making to `dispose`; a second one ends the process at once. */
export class Stopping {
  /** Resolves with the first reason. */
  readonly requested: Promise<StopReason>;
  private reason: StopReason | undefined;
  private resolve: (reason: StopReason) => void = () => {};
  private signals = 0;
  private timer: NodeJS.Timeout | undefined;
  private readonly forget: (() => void)[];

  constructor(terminal: Terminal) {
    this.requested = new Promise((resolve) => {
      this.resolve = resolve;
    });
    const hear = terminal.onSignal((signal) => {
      this.signals++;
      if (this.signals > 1) terminal.exit(128 + constants.signals[signal]);
      else this.request('signal');
    });
    this.forget = [hear, terminal.onOutputError(() => this.request('output-closed'))];
    if (terminal.outputError !== undefined) this.request('output-closed');
  }

  /** The first reason, once there is one. */
  get first(): StopReason | undefined {
    return this.reason;
  }

  /** Asks for the end. Only the first reason counts. */
  request(reason: StopReason): void {
    this.reason ??= reason;
    this.resolve(this.reason);
  }

  /** Asks for the end after so many seconds. */
  after(seconds: number): void {
    this.timer = setTimeout(() => this.request('time'), seconds * 1000);
  }

  /** Signals have their usual effect again. */
  dispose(): void {
    clearTimeout(this.timer);
    for (const forget of this.forget) forget();
  }
}
