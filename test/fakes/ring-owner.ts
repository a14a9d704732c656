/** A `vhost` driver that moves no frames: it notes what it is told, and checks that the calls come in an order that can be. */

import type { RingBase, RingOwner, RingSetup } from '../../lib/vhost-user/types.ts';
import { NET_CONFIG_BYTES } from '../../lib/virtio/net.ts';

/** Offered by the fake: VERSION_1, MRG_RXBUF, MQ, EVENT_IDX, INDIRECT_DESC, RING_PACKED, MTU, STATUS (virtio 1.2 §5.1.3, §6). */
export const OFFERED =
  (1n << 32n) | (1n << 15n) | (1n << 22n) | (1n << 29n) | (1n << 28n) | (1n << 34n) | (1n << 3n) | (1n << 16n);

export class FakeOwner implements RingOwner {
  features = OFFERED;
  readonly pairs: number;
  /** What happened, in order: `start 0`, `stop 0`, `enable 0 on`, `connected`, `disconnected: why`, `mtu 1500`, `rarp …`. */
  readonly log: string[] = [];
  /** Rings that run, as they were started. */
  readonly running = new Map<number, RingSetup>();
  /** Where rings stand when they are stopped. */
  readonly bases = new Map<number, RingBase>();
  /** Set: `stopRing` rejects so. */
  stuck: Error | undefined;
  /** Set: `startRing` rejects so. */
  broken: Error | undefined;
  bytes = new Uint8Array(NET_CONFIG_BYTES);
  /** Orders that cannot be: a test fails when there is one. */
  readonly wrong: string[] = [];

  constructor(pairs = 1) {
    this.pairs = pairs;
  }

  config(): Uint8Array {
    return this.bytes;
  }

  connected({ uid }: { pid: number; uid: number }): void {
    if (this.running.size > 0) this.wrong.push('connected while rings run');
    this.log.push(`connected ${uid}`);
  }

  disconnected(reason: string): void {
    if (this.running.size > 0) this.wrong.push('disconnected while rings run');
    this.log.push(`disconnected: ${reason}`);
  }

  async startRing(ring: RingSetup): Promise<void> {
    await Promise.resolve();
    if (this.broken !== undefined) throw this.broken;
    if (this.running.has(ring.index)) this.wrong.push(`start of ring ${ring.index}, which runs`);
    this.running.set(ring.index, ring);
    this.log.push(`start ${ring.index}`);
  }

  async stopRing(index: number): Promise<RingBase> {
    await Promise.resolve();
    if (this.stuck !== undefined) throw this.stuck;
    const base = this.bases.get(index) ?? this.running.get(index)?.base;
    this.running.delete(index);
    this.log.push(`stop ${index}`);
    return base ?? { avail: 0, availWrap: true, used: 0, usedWrap: true };
  }

  async enableRing(index: number, on: boolean): Promise<void> {
    if (!this.running.has(index)) this.wrong.push(`enable of ring ${index}, which does not run`);
    this.log.push(`enable ${index} ${on ? 'on' : 'off'}`);
  }

  mtu(bytes: number): void {
    this.log.push(`mtu ${bytes}`);
  }

  rarp(mac: Uint8Array): void {
    this.log.push(`rarp ${Buffer.from(mac).toString('hex')}`);
  }
}
