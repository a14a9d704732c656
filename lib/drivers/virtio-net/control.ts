/**
 * The control queue (virtio 1.2 §5.1.6.5), driven from the main thread: one command at a time, each with a deadline. Where
 * the transport does commands itself there is no queue.
 */
import { DeviceError } from '../../errors.ts';
import { CTRL_ACK } from '../../virtio/net.ts';
import { AVAIL, DESC_BYTES, DESC_F, EVENT, EVENT_F, NO_INTERRUPT, queueAreas } from '../../virtio/ring.ts';
import type { QueueLayout, VirtioDevio } from '../../virtio/transport.ts';
import { answered, pause, timeout } from '../deadline.ts';
import type { Command } from './commands.ts';

/** Longest that a device may take for a command, in milliseconds. */
export const COMMAND_MS = 1000;

/** Commands that fit: a MAC table of some hundred addresses, the largest indirection table. */
const MOST_BYTES = 4096;
/** Two descriptors per command: what we say, and where the answer goes. One command at a time is under way. */
const SIZE = 4;
/** No answer of §5.1.6.5: what stands there before the device has answered. */
const UNANSWERED = 0xff;

/** Sends commands. */
export class Control {
  private readonly what: string;
  private readonly devio: VirtioDevio;
  private readonly commandMs: number;
  private ring: ControlRing | undefined;
  /** Commands that were not answered yet. */
  private pending = 0;
  /** Commands wait for each other. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(what: string, devio: VirtioDevio, commandMs: number = COMMAND_MS) {
    this.what = what;
    this.devio = devio;
    this.commandMs = commandMs;
  }

  /** Lays the queue out, with number `index`; undefined when none is needed. */
  prepare(index: number, packed: boolean, eventIdx: boolean): QueueLayout | undefined {
    this.release();
    if (this.devio.transport.command !== undefined) return undefined;
    this.ring = new ControlRing(this.devio, index, packed);
    this.ring.silence(eventIdx);
    return this.ring.layout;
  }

  /**
   * Resolves when the device has done it. Rejects with `DEVICE_TIMEOUT`, after which the device must be reset: it still has
   * the buffer; with `COMMAND_REFUSED`, also for an answer that is none.
   */
  send(command: Command): Promise<void> {
    this.pending++;
    const turn = this.last
      .then(() => this.answer(command))
      .finally(() => {
        this.pending--;
      });
    this.last = turn.catch(() => {});
    return turn;
  }

  /** No command is under way: `handOver` may be called. */
  get idle(): boolean {
    return this.pending === 0;
  }

  /** What another one goes on with, `takeOver`. Undefined when there is no ring. */
  handOver(): ControlState | undefined {
    return this.ring?.state;
  }

  takeOver(state: ControlState | undefined): void {
    if (state !== undefined) this.ring = new ControlRing(this.devio, state.index, state.layout.packed, state);
  }

  private async answer(command: Command): Promise<void> {
    const what = `${this.what}: ${command.name}`;
    const { transport } = this.devio;
    const { class: group, command: code, data } = command;
    const sent =
      transport.command === undefined
        ? this.ring?.send(what, command, this.commandMs)
        : transport.command(group, code, data);
    const ack = sent === undefined ? CTRL_ACK.ERR : await answered(what, this.commandMs, sent);
    if (ack === CTRL_ACK.OK) return;
    const why = ack === CTRL_ACK.ERR ? 'the device refuses' : `the device answers ${ack}, which is no answer`;
    throw new DeviceError('COMMAND_REFUSED', { what, why, fix: 'use the device as it is' });
  }

  release(): void {
    this.ring?.release();
    this.ring = undefined;
  }
}

/** A control ring between two commands. Plain data. */
export interface ControlState {
  readonly index: number;
  readonly layout: QueueLayout;
  /** Arena offset of where commands are put. */
  readonly buffer: number;
  /** Commands sent so far. */
  readonly count: number;
}

/** The ring: split or packed. */
class ControlRing {
  readonly layout: QueueLayout;
  private readonly devio: VirtioDevio;
  private readonly index: number;
  private readonly view: DataView;
  private readonly heads: { readonly driver: Int32Array; readonly device: Int32Array };
  private readonly buffer: number;
  /** Commands sent so far. */
  private count: number;

  constructor(devio: VirtioDevio, index: number, packed: boolean, before?: ControlState) {
    this.devio = devio;
    this.index = index;
    this.layout = before?.layout ?? this.layOut(packed);
    this.buffer = before?.buffer ?? devio.allocateShared(MOST_BYTES, 64);
    this.count = before?.count ?? 0;
    const { driver, device } = this.layout;
    this.view = new DataView(devio.memory);
    this.heads = { driver: new Int32Array(devio.memory, driver, 1), device: new Int32Array(devio.memory, device, 1) };
  }

  /** We look for ourselves: no interrupts, for as long as can be said. */
  silence(eventIdx: boolean): void {
    const { view } = this;
    const { packed, driver } = this.layout;
    if (packed) view.setUint16(driver + EVENT.flags, EVENT_F.DISABLE, true);
    else if (eventIdx) view.setUint16(driver + AVAIL.ring + SIZE * 2, 0xffff, true);
    else view.setUint16(driver + AVAIL.flags, NO_INTERRUPT, true);
  }

  get state(): ControlState {
    const { index, layout, buffer, count } = this;
    return { index, layout, buffer, count };
  }

  private layOut(packed: boolean): QueueLayout {
    const areas = queueAreas(SIZE, packed);
    // Each is within a line: see `QueueSet`.
    const [desc, driver, device] = [areas.desc, areas.driver, areas.device].map(({ bytes }) =>
      this.devio.allocateShared(bytes + 2, 64),
    );
    return { size: SIZE, packed, desc, driver, device };
  }

  async send(what: string, { class: group, command, data }: Command, ms: number): Promise<number> {
    if (data.length + 3 > MOST_BYTES) throw new RangeError(`${what}: ${data.length} bytes do not fit`);
    const bytes = new Uint8Array(this.devio.memory, this.buffer, MOST_BYTES);
    const ackAt = data.length + 2;
    bytes.set([group, command], 0);
    bytes.set(data, 2);
    bytes[ackAt] = UNANSWERED;
    const parts = [
      { offset: this.buffer, length: ackAt, flags: DESC_F.NEXT as number },
      { offset: this.buffer + ackAt, length: 1, flags: DESC_F.WRITE as number },
    ];
    if (this.layout.packed) this.putPacked(parts);
    else this.putSplit(parts);
    this.count++;
    this.devio.transport.notify?.(this.index, this.position());
    const end = performance.now() + ms;
    for (let wait = 0; !this.used(); wait = Math.min(wait + 1, 10)) {
      if (performance.now() > end) throw timeout(what, ms);
      await pause(wait);
    }
    return bytes[ackAt];
  }

  private put(slot: number, { offset, length }: { offset: number; length: number }): number {
    const at = this.layout.desc + slot * DESC_BYTES;
    this.view.setBigUint64(at, this.devio.addressOf(offset), true);
    this.view.setUint32(at + 8, length, true);
    return at;
  }

  private putSplit(parts: readonly { offset: number; length: number; flags: number }[]): void {
    const head = (this.count * 2) % SIZE;
    for (const [i, part] of parts.entries()) {
      const at = this.put(head + i, part);
      this.view.setUint16(at + 12, part.flags, true);
      this.view.setUint16(at + 14, head + i + 1 < head + parts.length ? head + i + 1 : 0, true);
    }
    this.view.setUint16(this.layout.driver + AVAIL.ring + (this.count % SIZE) * 2, head, true);
    const flags = this.view.getUint16(this.layout.driver + AVAIL.flags, true);
    Atomics.store(this.heads.driver, 0, flags | ((this.count + 1) << 16));
  }

  /** The wrap counter while command `count` is under way: two commands are a lap. */
  private wrap(): boolean {
    return Math.floor((this.count * 2) / SIZE) % 2 === 0;
  }

  /** Where the next command goes: the available index, or the slot with its wrap counter. */
  private position(): number {
    return this.layout.packed ? ((this.count * 2) % SIZE) | (Number(this.wrap()) << 15) : this.count & 0xffff;
  }

  private putPacked(parts: readonly { offset: number; length: number; flags: number }[]): void {
    const head = (this.count * 2) % SIZE;
    const available = this.wrap() ? DESC_F.AVAIL : DESC_F.USED;
    // The first of the chain is made available last, §2.8.17.
    for (const [i, part] of [...parts.entries()].reverse()) {
      const at = this.put(head + i, part);
      const word = new Int32Array(this.devio.memory, at + 12, 1);
      Atomics.store(word, 0, (this.count % (SIZE / 2)) | ((part.flags | available) << 16));
    }
  }

  /** Whether the device has answered the last command. Which buffer it names does not matter: there is only one. */
  private used(): boolean {
    if (!this.layout.packed) return Atomics.load(this.heads.device, 0) >>> 16 === (this.count & 0xffff);
    const slot = ((this.count - 1) * 2) % SIZE;
    const wrap = Math.floor(((this.count - 1) * 2) / SIZE) % 2 === 0;
    const flags = Atomics.load(new Int32Array(this.devio.memory, this.layout.desc + slot * 16 + 12, 1), 0) >>> 16;
    const both = DESC_F.AVAIL | DESC_F.USED;
    return (flags & both) === (wrap ? both : 0);
  }

  release(): void {
    for (const offset of [this.layout.desc, this.layout.driver, this.layout.device, this.buffer])
      this.devio.freeShared(offset);
  }
}
