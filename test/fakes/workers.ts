/** Workers as the engine's main thread sees them, without threads: they do what they are told when a test lets them. */
import type { Worker } from '../../lib/engine/worker.ts';
import { COMMAND } from '../../workers/control.ts';

/** A worker that acts on commands at once, unless it is deaf. */
export class FakeWorker {
  alive = true;
  hears = true;
  killed = false;
  heartbeat = 0;
  /** It does not act on what it is told. */
  deaf = false;
  /** It polls as soon as it may go on. */
  polls = true;
  /** A killed thread takes so long to end. */
  endsAfterMs = 0;
  readonly told: string[] = [];
  readonly kills: string[] = [];
  wakes = 0;
  private acknowledged: number = COMMAND.run;
  private wanted: number = COMMAND.run;
  private pausing = false;
  onWake: () => void = () => {};

  command(command: number): void {
    this.wanted = command;
    if (!this.pausing) this.say(command);
  }

  pause(): void {
    this.pausing = true;
    this.say(COMMAND.pause);
  }

  resume(): void {
    this.pausing = false;
    this.say(this.wanted);
    if (this.polls) this.heartbeat += 2;
  }

  wake(): void {
    this.wakes++;
    this.onWake();
  }

  async acted(command: number, ms: number): Promise<boolean> {
    if (!this.alive || this.acknowledged === command) return true;
    await new Promise((resolve) => setTimeout(resolve, Math.min(ms, 5)));
    return !this.alive || this.acknowledged === command;
  }

  async gone(ms: number): Promise<boolean> {
    if (this.alive) await new Promise((resolve) => setTimeout(resolve, Math.min(ms, 5)));
    return !this.alive;
  }

  kill(code: string): void {
    this.kills.push(code);
    this.killed = true;
    this.hears = false;
    setTimeout(() => this.end(), this.endsAfterMs);
  }

  end(): void {
    this.alive = false;
    this.hears = false;
  }

  private say(command: number): void {
    this.told.push(Object.entries(COMMAND).find(([, n]) => n === command)?.[0] ?? '?');
    if (this.deaf) return;
    this.acknowledged = command;
    if (command === COMMAND.leave) this.end();
  }
}

/** As the engine's types have it. */
export const asWorkers = (...workers: FakeWorker[]): readonly Worker[] => workers as unknown as Worker[];
