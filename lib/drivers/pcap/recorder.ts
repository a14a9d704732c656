/** Writes what a port's tx queues accepted to its output file. Control half. */

import type { ByteSink } from '../../capture/sink.ts';
import { inTime } from '../../deadline.ts';
import { CaptureError } from '../../errors.ts';
import type { BlockRing } from './block-ring.ts';
import { hold, pause, turn } from './pause.ts';

/** Pauses between looks at idle rings: the first ones, then the longest. */
const IDLE_MS = [1, 1, 1, 1, 2, 3, 4];
const STALLED_MS = 5000;
/** For a pump that is only pausing. */
const PROMPT_MS = 100;
const STALL_POLL_MS = 1;

/** An open output file. */
export interface RecorderFile extends ByteSink {
  readonly name: string;
  /** Cuts the file off, so that it ends with a whole block. Does nothing to what is no regular file. */
  cut(length: number): Promise<void>;
  /** Makes a write that waits for a pipe's reader fail. */
  stop(): void;
}

/** One recording, from `start` to `stop`. */
export class Recorder {
  private readonly file: RecorderFile;
  private readonly rings: readonly BlockRing[];
  private readonly report: (error: Error) => void;
  private readonly stalledMs: number;
  private running: Promise<void> | undefined;
  private stopped = false;
  private failure: Error | undefined;
  /** Length of the file up to its last whole block; and bytes that were written in all, to see that it goes on. */
  private end: number;
  private progress = 0;

  /**
   * `end` is the file's length now. `report` hears of the failure after which nothing more is written. A file that takes
   * nothing for `stalledMs` has failed.
   */
  constructor(
    file: RecorderFile,
    end: number,
    rings: readonly BlockRing[],
    report: (error: Error) => void,
    stalledMs = STALLED_MS,
  ) {
    this.file = file;
    this.end = end;
    this.rings = rings;
    this.report = report;
    this.stalledMs = stalledMs;
  }

  /** Begins. */
  start(): void {
    this.running = this.run();
  }

  /** What ended the recording early. */
  get failed(): Error | undefined {
    return this.failure;
  }

  /** Resolves when everything accepted so far was written, or was given up because the file takes no more. */
  async flush(): Promise<void> {
    let seen = -1;
    while (!this.stopped && this.rings.some((ring) => ring.inFlight > 0)) {
      if (seen === this.progress) return this.fail(this.stalled());
      seen = this.progress;
      await this.movesWithin(this.stalledMs);
    }
  }

  /** Ends the recording: what is in flight is no longer written. Resolves when no write is under way, or late. */
  async stop(): Promise<void> {
    this.stopped = true;
    if (this.running === undefined || (await inTime(this.running, PROMPT_MS))) return;
    this.file.stop();
    await inTime(this.running, this.stalledMs);
  }

  private async run(): Promise<void> {
    for (let idle = 0; !this.stopped; ) {
      const bytes = this.failure === undefined ? await this.round() : this.giveUp();
      idle = bytes > 0 ? 0 : idle + 1;
      if (bytes > 0) await turn();
      else await pause(IDLE_MS[Math.min(idle, IDLE_MS.length) - 1]);
    }
  }

  private async round(): Promise<number> {
    let bytes = 0;
    try {
      for (const ring of this.rings) bytes += await ring.writeTo(this.file, (n, blocks) => this.wrote(n, blocks));
    } catch (error) {
      if (!this.stopped) await this.fail(error as Error);
    }
    return bytes;
  }

  private wrote(bytes: number, blocks: number): void {
    this.progress += bytes;
    this.end += blocks;
  }

  /** What a queue accepted while the failure came to its notice. */
  private giveUp(): number {
    for (const ring of this.rings) ring.abandon();
    return 0;
  }

  private async fail(error: Error): Promise<void> {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.file.stop();
    for (const ring of this.rings) ring.refuse();
    this.giveUp();
    // A failed cut leaves half a block at the end, which readers report; it must not hide why we are here.
    await inTime(
      this.file.cut(this.end).catch(() => {}),
      this.stalledMs,
    );
    this.report(error);
  }

  /** Resolves when something was written or nothing is in flight, or after `ms`. */
  private async movesWithin(ms: number): Promise<void> {
    const { progress } = this;
    const moved = () => this.stopped || this.progress !== progress || !this.rings.some((ring) => ring.inFlight > 0);
    for (const deadline = Date.now() + ms; !moved() && Date.now() < deadline; ) {
      await hold(STALL_POLL_MS);
    }
  }

  private stalled(): CaptureError {
    const { name: file } = this.file;
    return new CaptureError(
      'CAPTURE_STALLED',
      {
        what: `capture ${file} cannot be written`,
        why: `it has taken nothing for ${this.stalledMs} ms`,
        fix: 'see whether its device or the reader of its pipe hangs',
      },
      { detail: { file } },
    );
  }
}
