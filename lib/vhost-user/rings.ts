/**
 * The rings of one front end: what it has said of each, and whether it runs. A ring runs as soon as all is known, and does
 * not wait for the first kick: a driver that a crashed back end had told not to kick would never give one, and a kick for
 * nothing has to be borne anyway (virtio 1.2 §2.7.10.2). Main thread.
 */
import type { Native } from '../../native/index.ts';
import { hasFeature } from '../virtio/features.ts';
import { MAX_QUEUE_SIZE, queueAreas } from '../virtio/ring.ts';
import type { MemoryTable } from './memory.ts';
import type { Payloads } from './payload.ts';
import { checkSignal } from './peer-file.ts';
import { ADDRESS_F, LIMIT } from './protocol.ts';
import { refusal } from './refusal.ts';
import type { PeerPlace, RingBase, RingOwner, RingSetup } from './types.ts';

type Address = Payloads['address'];

/** One ring. */
interface Ring {
  readonly index: number;
  /** 0: not told. */
  size: number;
  address: Address | undefined;
  base: RingBase;
  /** An fd of ours, -1 for none, or undefined: not told, and then it cannot run. */
  kick: number | undefined;
  call: number;
  err: number;
  enabled: boolean;
  running: boolean;
}

/** What rings need to know of the rest of the session. */
export interface RingWorld {
  readonly table: MemoryTable;
  /** Undefined until they are set. */
  readonly features: bigint | undefined;
  /** The driver is ready, as far as it says so. */
  readonly driverOk: boolean;
  readonly log: RingSetup['log'];
  inflightOf(index: number): RingSetup['inflight'];
}

const START: RingBase = { avail: 0, availWrap: true, used: 0, usedWrap: true };
const MOST_INDEX = 0xffff;

/** Owns the fds. */
export class Rings {
  private readonly native: Native;
  private readonly owner: RingOwner;
  private readonly world: RingWorld;
  private readonly rings: readonly Ring[];

  constructor(native: Native, owner: RingOwner, world: RingWorld) {
    this.native = native;
    this.owner = owner;
    this.world = world;
    this.rings = Array.from({ length: owner.pairs * 2 }, (_, index) => ({
      ...{ index, size: 0, address: undefined, base: START, kick: undefined, call: -1, err: -1 },
      ...{ enabled: false, running: false },
    }));
  }

  /** True while any ring runs. */
  get running(): boolean {
    return this.rings.some(({ running }) => running);
  }

  private at(message: string, index: number): Ring {
    if (index < this.rings.length) return this.rings[index];
    throw refusal(message, `there is no ring ${index}, but ${this.rings.length}`, 'VHOST_BAD_INDEX');
  }

  private stoppedAt(message: string, index: number): Ring {
    const ring = this.at(message, index);
    if (ring.running) throw refusal(message, `ring ${index} runs`, 'VHOST_BAD_STATE');
    return ring;
  }

  private get packed(): boolean {
    return hasFeature(this.world.features ?? 0n, 'RING_PACKED');
  }

  setNum({ index, num }: Payloads['state']): void {
    const ring = this.stoppedAt('SET_VRING_NUM', index);
    this.checkSize(num);
    ring.size = num;
  }

  private checkSize(size: number): void {
    const odd = !this.packed && (size & (size - 1)) !== 0;
    if (size >= 1 && size <= MAX_QUEUE_SIZE && !odd) return;
    throw refusal('SET_VRING_NUM', `a ring cannot have ${size} descriptors`, 'VHOST_BAD_SIZE');
  }

  async setAddress(address: Address): Promise<void> {
    const ring = this.at('SET_VRING_ADDR', address.index);
    if ((address.flags & ~ADDRESS_F.LOG) !== 0)
      throw refusal('SET_VRING_ADDR', `unknown flags ${address.flags}`, 'VHOST_BAD_FLAGS');
    if (ring.size === 0) throw refusal('SET_VRING_ADDR', 'the size of the ring is not known yet', 'VHOST_BAD_STATE');
    // Before it is stopped for it: what is wrong changes nothing.
    this.places({ ...ring, address });
    await this.restart(ring, () => {
      ring.address = address;
    });
  }

  setBase({ index, num }: Payloads['state']): void {
    const ring = this.stoppedAt('SET_VRING_BASE', index);
    if (!this.packed) {
      if (num > MOST_INDEX) throw refusal('SET_VRING_BASE', `there is no index ${num}`, 'VHOST_BAD_INDEX');
      ring.base = { ...START, avail: num, used: num };
      return;
    }
    // Two halves of 15 bits of index and a wrap counter. Without the second, which not everybody sends, they are equal.
    const [avail, high] = [num & 0xffff, num >>> 16];
    const used = high === 0 ? avail : high;
    const base = { avail: avail & 0x7fff, availWrap: avail > 0x7fff, used: used & 0x7fff, usedWrap: used > 0x7fff };
    if (ring.size > 0 && (base.avail >= ring.size || base.used >= ring.size))
      throw refusal('SET_VRING_BASE', `ring ${index} has no index ${base.avail} or ${base.used}`, 'VHOST_BAD_INDEX');
    ring.base = base;
  }

  /** Stops a ring, also one of which nothing is known; returns where it stood. */
  async getBase({ index }: Payloads['state']): Promise<Payloads['state']> {
    const ring = this.at('GET_VRING_BASE', index);
    await this.stop(ring);
    this.setKickFd(ring, undefined);
    this.setFd(ring, 'call', -1);
    const { avail, availWrap, used, usedWrap } = ring.base;
    if (!this.packed) return { index, num: avail };
    const half = (at: number, wrap: boolean) => at | (wrap ? 0x8000 : 0);
    return { index, num: (half(avail, availWrap) | (half(used, usedWrap) << 16)) >>> 0 };
  }

  /** Takes the fd over, unless it throws. */
  async setKick(index: number, fd: number | undefined): Promise<void> {
    const ring = this.at('SET_VRING_KICK', index);
    this.prepare('SET_VRING_KICK', fd);
    await this.restart(ring, () => this.setKickFd(ring, fd ?? -1));
  }

  /** Takes the fd over, unless it throws. A ring that runs need not stop for it: the number stays, what it means changes. */
  async setSignal(which: 'call' | 'err', index: number, fd: number | undefined): Promise<void> {
    const message = which === 'call' ? 'SET_VRING_CALL' : 'SET_VRING_ERR';
    const ring = this.at(message, index);
    this.prepare(message, fd);
    if (fd !== undefined && ring[which] >= 0) {
      this.native.replaceFd(ring[which], fd);
      this.native.close(fd);
    } else await this.restart(ring, () => this.setFd(ring, which, fd ?? -1));
  }

  private prepare(message: string, fd: number | undefined): void {
    if (fd === undefined) return;
    checkSignal(message, fd);
    // We never wait for a peer that does not read.
    this.native.setNonblocking(fd);
  }

  async enable({ index, num }: Payloads['state']): Promise<void> {
    const ring = this.at('SET_VRING_ENABLE', index);
    if (num > 1) throw refusal('SET_VRING_ENABLE', `${num} is neither 0 nor 1`);
    ring.enabled = num === 1;
    if (ring.running) await this.owner.enableRing(index, ring.enabled);
  }

  /** Enables or disables all. */
  async enableAll(on: boolean): Promise<void> {
    for (const { index } of this.rings) await this.enable({ index, num: on ? 1 : 0 });
  }

  /** Starts what can run, and stops what cannot any more. One that is told wrongly waits for another kick. */
  async settle(): Promise<void> {
    for (const ring of this.rings) {
      try {
        await this.settleOne(ring);
      } catch (error) {
        if (!ring.running) this.setKickFd(ring, undefined);
        throw error;
      }
    }
  }

  private async settleOne(ring: Ring): Promise<void> {
    const setup = this.setup(ring);
    if (setup === undefined) return this.stop(ring);
    if (ring.running) return;
    this.checkSize(ring.size);
    await this.owner.startRing(setup);
    ring.running = true;
  }

  /** Has all rings stand still while `change` is made; then those run again that can. */
  async quiesced<T>(change: () => T): Promise<T> {
    await this.stopAll();
    try {
      return change();
    } finally {
      await this.settle();
    }
  }

  /** As if `table` were there: throws a refusal when a ring that runs would not be. */
  checkAgainst(table: MemoryTable): void {
    for (const ring of this.rings) if (ring.running) this.places(ring, table);
  }

  async stopAll(): Promise<void> {
    for (const ring of this.rings) await this.stop(ring);
  }

  /** Stops all, and forgets what was said of them. */
  async reset(): Promise<void> {
    await this.stopAll();
    for (const ring of this.rings) {
      this.setKickFd(ring, undefined);
      this.setFd(ring, 'call', -1);
      this.setFd(ring, 'err', -1);
      Object.assign(ring, { size: 0, address: undefined, base: START, enabled: false });
    }
  }

  /** The eventfd by which the front end hears that a ring is broken. */
  signalBroken(): void {
    for (const { err } of this.rings) if (err >= 0) this.native.notify(err);
  }

  private async restart(ring: Ring, change: () => void): Promise<void> {
    await this.stop(ring);
    change();
  }

  private async stop(ring: Ring): Promise<void> {
    if (!ring.running) return;
    ring.base = await this.owner.stopRing(ring.index);
    ring.running = false;
  }

  private setKickFd(ring: Ring, fd: number | undefined): void {
    if (ring.kick !== undefined && ring.kick >= 0) this.native.close(ring.kick);
    ring.kick = fd;
  }

  private setFd(ring: Ring, which: 'call' | 'err', fd: number): void {
    if (ring[which] >= 0) this.native.close(ring[which]);
    ring[which] = fd;
  }

  private setup(ring: Ring): RingSetup | undefined {
    const { features, driverOk, log } = this.world;
    const { index, size, kick, call, err, enabled, base } = ring;
    if (features === undefined || !driverOk || kick === undefined || ring.address === undefined) return undefined;
    const places = this.places(ring);
    const shared = { log, inflight: this.world.inflightOf(index), regions: this.world.table.pieces() };
    return { index, size, packed: this.packed, features, base, call, kick, err, enabled, ...places, ...shared };
  }

  /** Where the areas of a ring lie. Throws a refusal unless each is whole, aligned, and apart from the others. */
  private places(ring: Ring, table = this.world.table): Pick<RingSetup, 'desc' | 'driver' | 'device' | 'logAddress'> {
    const address = ring.address as Address;
    const areas = queueAreas(ring.size, this.packed);
    const find = (what: string, at: bigint, { bytes, align }: { bytes: number; align: number }): PeerPlace => {
      const place = table.translate(at, bytes);
      const why = place === undefined ? 'is not whole in its memory' : `is no multiple of ${align}`;
      if (place !== undefined && place.offset % align === 0) return place;
      throw refusal('SET_VRING_ADDR', `the ${what} area of ring ${ring.index} at ${at} ${why}`, 'VHOST_BAD_ADDRESS');
    };
    const places = {
      desc: find('descriptor', address.desc, areas.desc),
      driver: find('driver', address.avail, areas.driver),
      device: find('device', address.used, areas.device),
    };
    checkApart(ring.index, [
      [address.desc, areas.desc.bytes],
      [address.avail, areas.driver.bytes],
      [address.used, areas.device.bytes],
    ]);
    return { ...places, logAddress: this.logAddress(address, areas.device.bytes) };
  }

  private logAddress({ flags, log }: Address, bytes: number): number {
    if ((flags & ADDRESS_F.LOG) === 0) return -1;
    const area = this.world.log;
    if (log + BigInt(bytes) > 2n ** 53n) throw refusal('SET_VRING_ADDR', `there is no address ${log}`);
    const last = (log + BigInt(bytes) - 1n) / BigInt(LIMIT.logPage) / 8n;
    if (area !== undefined && last >= BigInt(area.bytes))
      throw refusal('SET_VRING_ADDR', `address ${log} is not in the log`, 'VHOST_BAD_ADDRESS');
    return Number(log);
  }
}

function checkApart(index: number, areas: readonly (readonly [bigint, number])[]): void {
  for (const [i, [a, aBytes]] of areas.entries())
    for (const [b, bBytes] of areas.slice(i + 1))
      if (a < b + BigInt(bBytes) && b < a + BigInt(aBytes))
        throw refusal('SET_VRING_ADDR', `the areas at ${a} and ${b} of ring ${index} overlap`, 'VHOST_BAD_ADDRESS');
}
