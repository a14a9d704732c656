/**
 * Bringing a device back that asked to be reset, whose ring was found broken, or that went and came again: gates closed,
 * device reset, rings made anew, brought up with the same features. Control half.
 */
import { pause } from './deadline.ts';

/** Longest that workers may take to step back from the rings before we look again, in milliseconds. */
const GATE_MS = 1000;
/** Pause after a failure; doubles up to the last. */
const FIRST_MS = 20;
const LAST_MS = 2000;
/** A device that breaks again so soon after it was brought up is left alone as long. */
const STEADY_MS = 1000;

/** What it does its work with. */
export interface RevivalSteps {
  /** Resolves to true when no worker touches the rings. */
  close(deadlineMs: number): Promise<boolean>;
  /** Resets the device. */
  reset(): Promise<void>;
  /** The device has let go of the frames. */
  release(): void;
  /** From a device that was reset to one that runs, gates open. */
  bringUp(): Promise<void>;
  /** The port works, or not, and why. */
  changed(up: boolean, reason: string): void;
  /** It could not be brought up; `fatal`: and never will be. */
  failed(error: Error, fatal: boolean): void;
}

/** The life of a started device. */
export class Revival {
  private readonly steps: RevivalSteps;
  private present = true;
  private readonly halt = new AbortController();
  private working: Promise<void> | undefined;
  /** Something has happened since the work began. */
  private again = false;
  private since = performance.now();
  private waitMs = FIRST_MS;

  constructor(steps: RevivalSteps) {
    this.steps = steps;
  }

  /** It works no longer: bring it back. */
  broken(reason: string): void {
    if (this.stopped) return;
    this.steps.changed(false, reason);
    this.work();
  }

  lost(reason: string): void {
    this.present = false;
    this.broken(reason);
  }

  back(): void {
    this.present = true;
    if (!this.stopped) this.work();
  }

  /**
   * It has gone for good, or is another's by now: workers are to step back and take the frames, but nobody waits for that,
   * since they are about to leave its queues.
   */
  gone(reason: string): void {
    if (this.stopped) return;
    this.present = false;
    this.halt.abort();
    this.steps.changed(false, reason);
    void this.steps.close(0);
    this.steps.release();
  }

  /** Nothing is being done. */
  get idle(): boolean {
    return this.working === undefined;
  }

  /** Resolves when nothing is done any more. */
  async stop(): Promise<void> {
    this.halt.abort();
    await this.working;
  }

  private get stopped(): boolean {
    return this.halt.signal.aborted;
  }

  private work(): void {
    this.again = true;
    this.working ??= this.loop().finally(() => {
      this.working = undefined;
    });
  }

  private async loop(): Promise<void> {
    const steady = performance.now() - this.since > STEADY_MS;
    if (steady) this.waitMs = FIRST_MS;
    while (this.again && !this.stopped) {
      this.again = false;
      if (!(await this.once())) {
        this.again ||= this.present;
        await pause(this.waitMs, this.halt.signal);
        this.waitMs = Math.min(LAST_MS, this.waitMs * 2);
      }
    }
  }

  /** One attempt; false: try again. */
  private async once(): Promise<boolean> {
    const { steps } = this;
    // Until all have stepped back nothing may be changed; a worker that hangs is started again by the engine.
    if (!(await steps.close(GATE_MS))) return false;
    if (!this.present) {
      steps.release();
      return true;
    }
    try {
      await steps.reset();
      steps.release();
      await steps.bringUp();
    } catch (error) {
      const fatal = (error as { code?: string }).code === 'FEATURES_CHANGED';
      if (!this.stopped && this.present) steps.failed(error as Error, fatal);
      if (fatal) this.halt.abort();
      return fatal || !this.present;
    }
    this.since = performance.now();
    if (!this.again) steps.changed(true, '');
    return true;
  }
}
