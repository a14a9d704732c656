/** One ring from the main thread's side: its block, its gate, and what the session said of it last. Control half. */
import { Gate } from '../../arena/gate.ts';
import { DeviceError } from '../../errors.ts';
import type { RingBase, RingSetup, VhostDevio } from '../../vhost-user/types.ts';
import { INFLIGHT_PACKED, INFLIGHT_SPLIT } from '../../virtio/inflight.ts';
import { DESC_BYTES, USED } from '../../virtio/ring.ts';
import { BLOCK, BLOCK_BYTES, BROKEN, BROKEN_TEXT } from './block.ts';
import { programRing, regionsFit } from './program.ts';
import { recoverPacked, recoverSplit } from './recovery.ts';

/** How long a worker may take to step back, in ms: longer than the engine takes to end one that hangs. */
const STEP_BACK_MS = 5000;

const START: RingBase = { avail: 0, availWrap: true, used: 0, usedWrap: true };

/** A queue that the port has made for the ring: see `RingControl.attach`. */
interface Place {
  readonly block: number;
  readonly words: Int32Array;
  readonly gate: Gate;
}

export class RingControl {
  readonly index: number;
  private readonly devio: VhostDevio;
  private readonly wake: () => void;
  /** The epoll set of an rx queue; the kick eventfd is in it while the ring runs. */
  private readonly epoll: number;
  private setup: RingSetup | undefined;
  private place: Place | undefined;
  private told = false;
  /** Arena offset of the list of buffers that are taken again, or 0. */
  private heads = 0;

  constructor(devio: VhostDevio, index: number, epoll: number, wake: () => void) {
    this.devio = devio;
    this.index = index;
    this.epoll = epoll;
    this.wake = wake;
  }

  /** The session has it running, and enabled. */
  get up(): boolean {
    return this.setup?.enabled === true && !this.told;
  }

  /** The port has made a queue for this ring; returns the arena offset of its block. */
  attach(): number {
    const block = this.devio.allocate(BLOCK_BYTES);
    const { memory } = this.devio;
    const gate = new Gate(memory, block, this.wake);
    this.place = { block, gate, words: new Int32Array(memory, block, BLOCK.words) };
    if (this.setup !== undefined) this.run(this.setup);
    return block;
  }

  /** The port is stopped: its workers have left. The ring waits for the next start where it stands. */
  detach(): void {
    const { place } = this;
    if (place === undefined) return;
    place.gate.set(false);
    this.setup = this.setup && { ...this.setup, base: this.base() };
    this.place = undefined;
    this.forgetHeads();
    this.devio.free(place.block);
  }

  /** The worker that had the queue has ended. */
  forget(): void {
    this.place?.gate.forget();
  }

  start(setup: RingSetup): void {
    if (!regionsFit(setup.regions)) {
      throw new DeviceError('TOO_MANY_REGIONS', {
        what: `ring ${this.index}`,
        why: `the front end's memory is in ${setup.regions.length} regions`,
        fix: 'give it memory in fewer pieces, such as hugepages',
      });
    }
    this.setup = setup;
    this.told = false;
    if (this.epoll >= 0 && setup.kick >= 0) this.devio.native.epollAdd(this.epoll, setup.kick);
    if (this.place !== undefined) this.run(setup);
  }

  async stop(): Promise<RingBase> {
    const { setup } = this;
    if (setup === undefined) return START;
    await this.close();
    const base = this.base();
    if (this.epoll >= 0 && setup.kick >= 0) this.devio.native.epollRemove(this.epoll, setup.kick);
    this.setup = undefined;
    return base;
  }

  async enable(on: boolean): Promise<void> {
    if (this.setup === undefined || this.setup.enabled === on) return;
    await this.close();
    this.setup = { ...this.setup, base: this.base(), enabled: on };
    // What is broken stays so until the front end sets it up anew.
    if (this.place !== undefined && !this.told) this.run(this.setup);
  }

  /** Has the worker deliver a reverse ARP from `mac`, as if the guest had sent it. */
  rarp(mac: Uint8Array): void {
    const { place } = this;
    if (place === undefined) return;
    const words = new Int32Array(2);
    new Uint8Array(words.buffer).set(mac.subarray(0, 6));
    place.words.set(words, BLOCK.rarpMac);
    Atomics.store(place.words, BLOCK.rarp, 1);
    this.wake();
  }

  /** True while the port has a queue for it. */
  get attached(): boolean {
    return this.place !== undefined;
  }

  /** Why the worker has stopped the ring, once. */
  failure(): string | undefined {
    const reason = this.place?.words[BLOCK.broken] ?? BROKEN.none;
    if (this.setup === undefined || this.told || reason === BROKEN.none) return undefined;
    this.told = true;
    return BROKEN_TEXT[reason];
  }

  /** Programs the block and opens the gate, which is closed. */
  private run(setup: RingSetup): void {
    const { memory } = this.devio;
    const { block, gate, words } = this.place as Place;
    this.forgetHeads();
    const { base, heads, broken } = this.recovered(setup);
    programRing(memory, block, { ...setup, base }, base.used);
    if (heads.length > 0) {
      this.heads = this.devio.allocate(setup.size * 2);
      const list = new Uint16Array(memory, this.heads, setup.size);
      heads.forEach((head, i) => {
        list[(base.avail + i) % setup.size] = head;
      });
      words[BLOCK.resubmitList] = this.heads;
      words[BLOCK.resubmitEnd] = (base.avail + heads.length) & 0xffff;
    }
    words[BLOCK.broken] = broken;
    gate.set(true);
  }

  /**
   * Where the ring goes on, and which of its buffers come first; an inflight area that makes no sense breaks it. A split
   * ring goes on where its used index stands, whatever the front end says (DPDK's says 0 to the back end that comes after a
   * dead one): what was taken beyond it was not used, and is taken again, as we use everything in order. A guest's packet
   * may be sent twice then, never lost; a packet for the guest is sent once at most.
   */
  private recovered(setup: RingSetup): { base: RingBase; heads: readonly number[]; broken: number } {
    const { inflight, size, packed, desc } = setup;
    const used = packed ? setup.base.used : this.usedIndex(setup);
    const base = packed ? setup.base : { ...setup.base, avail: used };
    const told = { base: { ...base, used }, heads: [], broken: BROKEN.none };
    if (inflight === undefined) return told;
    const { windows } = this.devio;
    const { head, entry } = packed ? INFLIGHT_PACKED : INFLIGHT_SPLIT;
    const area = new DataView(windows[inflight.window], inflight.offset, head + entry * inflight.size);
    const part = { area, entries: inflight.size, size };
    try {
      if (!packed) return { ...told, base: { ...base, avail: used, used }, heads: recoverSplit(part, used) };
      const ring = new DataView(windows[desc.window], desc.offset, size * DESC_BYTES);
      const { at, wrap } = recoverPacked(part, ring, { at: base.used, wrap: base.usedWrap });
      return { ...told, base: { avail: at, availWrap: wrap, used: at, usedWrap: wrap } };
    } catch (error) {
      if ((error as DeviceError).code !== 'BAD_INFLIGHT') throw error;
      return { ...told, broken: BROKEN.inflight };
    }
  }

  private forgetHeads(): void {
    if (this.heads !== 0) this.devio.free(this.heads);
    this.heads = 0;
  }

  private async close(): Promise<void> {
    const { place } = this;
    if (place === undefined || (await place.gate.close(STEP_BACK_MS))) return;
    throw new DeviceError('WORKER_STUCK', {
      what: `ring ${this.index}`,
      why: `the worker that has it did not step back within ${STEP_BACK_MS} ms`,
      fix: 'see what its application does',
    });
  }

  private base(): RingBase {
    const { setup, place } = this;
    // Without a queue nothing has been done with it.
    if (place === undefined) return setup?.base ?? START;
    const { words } = place;
    return {
      avail: words[BLOCK.avail],
      availWrap: words[BLOCK.availWrap] === 1,
      used: words[BLOCK.used],
      usedWrap: words[BLOCK.usedWrap] === 1,
    };
  }

  /** Where a split ring's used index stands: in the guest's memory. */
  private usedIndex({ device }: RingSetup): number {
    return new Uint16Array(this.devio.windows[device.window], device.offset + USED.idx, 1)[0];
  }
}
