/** From a device in any state to one that runs (virtio 1.2 §3.1.1), step by step, each with a deadline. Control half. */
import { DeviceError } from '../../errors.ts';
import { featureNames, featureSet, hasFeature, STATUS } from '../../virtio/features.ts';
import { MAX_QUEUE_SIZE } from '../../virtio/ring.ts';
import type { QueueLayout, VirtioTransport } from '../../virtio/transport.ts';
import { answered } from '../deadline.ts';
import { isMtu, isPairs, type NetConfig, readNetConfig } from './config.ts';
import { chooseFeatures, requireFeatures, type Wishes } from './features.ts';

/** Longest that a device may take for one step, in milliseconds. */
export const STEP_MS = 2000;

/** A device that has agreed to its features and waits for its queues. */
export interface Introduced {
  readonly features: bigint;
  readonly config: NetConfig;
  /** What the device said that cannot be, one sentence each. */
  readonly faults: readonly string[];
}

/** Takes a device through its life. `what` names it in errors. */
export class BringUp {
  private readonly what: string;
  private readonly transport: VirtioTransport;
  private readonly stepMs: number;
  private state: number;

  /** `state`: what an earlier release of the driver has set, of a device that runs. */
  constructor(what: string, transport: VirtioTransport, stepMs: number = STEP_MS, state = 0) {
    this.what = what;
    this.transport = transport;
    this.stepMs = stepMs;
    this.state = state;
  }

  /** Status bits set since the last reset. */
  get status(): number {
    return this.state;
  }

  private step<T>(name: string, promise: Promise<T>): Promise<T> {
    return answered(`${this.what}: ${name}`, this.stepMs, promise);
  }

  private async set(bits: number, name: string): Promise<void> {
    this.state |= bits;
    await this.step(name, this.transport.setStatus(this.state));
  }

  /** Resets the device: nothing of ours is in its hands afterwards. */
  async reset(): Promise<void> {
    await this.step('reset', this.transport.reset());
    this.state = 0;
  }

  /**
   * Reset to FEATURES_OK: with `features` if they are given, else with those that it offers and we want. Throws
   * `DEVICE_TIMEOUT`, `NO_VERSION_1`, `NO_PACKED_RING`, `FEATURES_CHANGED`, `FEATURES_REFUSED`; the device has FAILED then.
   */
  introduce(wishes: Wishes, features?: bigint): Promise<Introduced> {
    return this.orFail(async () => {
      await this.reset();
      await this.set(STATUS.ACKNOWLEDGE, 'ACKNOWLEDGE');
      await this.set(STATUS.DRIVER, 'DRIVER');
      const offered = await this.step('features', this.transport.deviceFeatures());
      const chosen = await this.choose(offered, wishes, features);
      await this.step('features', this.transport.setDriverFeatures(chosen.features));
      await this.set(STATUS.FEATURES_OK, 'FEATURES_OK');
      await this.requireStatus(STATUS.FEATURES_OK, chosen.features);
      const config = await this.step('configuration', readNetConfig(this.transport, chosen.features));
      return { ...chosen, config };
    });
  }

  /** A device whose configuration cannot be is driven without the feature that brings it. */
  private async choose(offered: bigint, wishes: Wishes, features: bigint | undefined) {
    if (features !== undefined) {
      requireFeatures(this.what, offered, features);
      return { features, faults: [] };
    }
    const first = chooseFeatures(this.what, offered, wishes, 0n);
    // Reading is allowed before FEATURES_OK, §3.1.1.
    const { mtu, pairs } = await this.step('configuration', readNetConfig(this.transport, first));
    const faults: string[] = [];
    let without = 0n;
    if (mtu !== undefined && !isMtu(mtu)) {
      without |= featureSet('MTU');
      faults.push(`${this.what} says that its MTU is ${mtu}: that is not believed`);
    }
    if (!isPairs(pairs)) {
      without |= featureSet('MQ', 'RSS');
      faults.push(`${this.what} says that it has ${pairs} queue pairs: one is used`);
    }
    return { features: chooseFeatures(this.what, offered, wishes, without), faults };
  }

  private async requireStatus(bits: number, features: bigint): Promise<void> {
    const status = await this.step('status', this.transport.status());
    if ((status & STATUS.DEVICE_NEEDS_RESET) !== 0) throw this.broken(`it asks to be reset (status ${status})`);
    if ((status & bits) === bits) return;
    throw new DeviceError('FEATURES_REFUSED', {
      what: this.what,
      why: `it does not work with ${featureNames(features).join(', ')}, all of which it offers`,
      fix: 'turn some off (mergeable=0, packed=0, event-idx=0, in-order=0)',
    });
  }

  /** The size of queue `index`: as asked for, or less where it cannot have as many. Throws `BAD_QUEUE`. */
  async queueSize(index: number, wanted: number, features: bigint): Promise<number> {
    const most = await this.step(`queue ${index}`, this.transport.queueMax(index));
    const size = Math.min(wanted, most, MAX_QUEUE_SIZE);
    const fit = hasFeature(features, 'RING_PACKED') ? size : 2 ** Math.floor(Math.log2(size));
    if (fit >= 2) return fit;
    throw new DeviceError('BAD_QUEUE', {
      what: `${this.what}: queue ${index}`,
      why: most === 0 ? 'it has none' : `it may have no more than ${most} descriptors`,
      fix: 'open the port with fewer queues',
    });
  }

  /** Programs `queues` and lets the device run. */
  start(queues: ReadonlyMap<number, QueueLayout>): Promise<void> {
    return this.orFail(async () => {
      for (const [index, layout] of queues) await this.step(`queue ${index}`, this.transport.startQueue(index, layout));
      await this.set(STATUS.DRIVER_OK, 'DRIVER_OK');
      const status = await this.step('status', this.transport.status());
      if ((status & STATUS.DEVICE_NEEDS_RESET) !== 0) throw this.broken(`it asks to be reset (status ${status})`);
    });
  }

  private broken(why: string): DeviceError {
    return new DeviceError('DEVICE_BROKEN', { what: this.what, why, fix: 'look at its other side' });
  }

  /** What fails is told to the device, §3.1.1; whether that can be done or not. */
  private async orFail<T>(steps: () => Promise<T>): Promise<T> {
    try {
      return await steps();
    } catch (error) {
      await this.set(STATUS.FAILED, 'FAILED').catch(() => {});
      throw error;
    }
  }
}
