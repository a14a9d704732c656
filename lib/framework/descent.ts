/** The steps by which a device is let go: each with its time, each failure reported, force when one of them fails. */
import { DeviceError } from '../errors.ts';
import type { Pktio } from '../pktio/types.ts';
import type { Core } from './core.ts';
import type { DeviceRecord } from './device.ts';
import { toError } from './events.ts';
import { type DevioRecord, type DriverRecord, sourceOf } from './records.ts';
import type { Devio } from './types.ts';

/** What has been opened for a device. */
export interface Opened {
  readonly driver: DriverRecord;
  readonly provider: DevioRecord;
  readonly devio: Devio;
  readonly pktio?: Pktio;
}

type Step = () => void | Promise<void>;

/** One way down. */
export class Descent {
  /** Why force was used, if it was. */
  forced: Error | undefined;
  /** Why something may still hold the device, if it may. */
  failure: Error | undefined;
  readonly #core: Core;
  readonly #device: DeviceRecord;
  readonly #opened: Opened;
  readonly #end: number;

  constructor(core: Core, device: DeviceRecord, opened: Opened, deadlineMs: number) {
    this.#core = core;
    this.#device = device;
    this.#opened = opened;
    this.#end = performance.now() + deadlineMs;
  }

  /** Takes a step; returns what went wrong. The step that runs into the deadline gets more time, after the force. */
  async step(source: string, name: string, callback: Step): Promise<Error | undefined> {
    const { forceDeadlineMs } = this.#core.limits;
    const leftMs = Math.ceil(this.#end - performance.now());
    if (this.forced === undefined && leftMs <= 0) await this.#force(this.#tooLate(name));
    const again: Promise<void>[] = [];
    const wasForced = this.forced !== undefined;
    const error = await this.#run(source, name, callback, wasForced ? forceDeadlineMs : leftMs, again);
    if (error === undefined || wasForced) return error;
    await this.#force(error);
    const [pending] = again;
    return pending === undefined ? error : this.#run(source, name, () => pending, forceDeadlineMs);
  }

  /** Stops the device without its driver's help, once. What a devio cannot force (software) needs none. */
  async #force(why: Error): Promise<void> {
    this.forced = why;
    const { devio, provider } = this.#opened;
    if (devio.force === undefined) return;
    this.failure = await this.#run(
      sourceOf.devio(provider),
      'force',
      () => devio.force?.(),
      this.#core.limits.forceDeadlineMs,
    );
  }

  /** Returns what went wrong. A result that is still to come goes into `pending`, when there is one. */
  async #run(
    source: string,
    name: string,
    step: Step,
    deadlineMs: number,
    pending?: Promise<void>[],
  ): Promise<Error | undefined> {
    const late = pending && ((result: Promise<void>) => void pending.push(result));
    try {
      await this.#core.callbacks.run(source, name, step, late === undefined ? { deadlineMs } : { deadlineMs, late });
      return undefined;
    } catch (error) {
      this.#core.events.error(source, error, this.#device.view);
      return toError(error);
    }
  }

  #tooLate(name: string): Error {
    const what = `unbinding of ${this.#device.id}`;
    return new DeviceError('DEADLINE_PASSED', {
      what,
      why: `there was no time left for ${name}`,
      fix: 'allow it more time',
    });
  }
}
