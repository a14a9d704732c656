/** Reads a port's input file into the ring of its rx queue, as often and as fast as asked. Control half. */

import type { FileHandle } from 'node:fs/promises';
import { CaptureReader } from '../../capture/reader.ts';
import { type ByteSource, FileSource } from '../../capture/source.ts';
import type { PacketRecord } from '../../capture/types.ts';
import { ByteWindow } from '../../capture/window.ts';
import { inTime } from '../../deadline.ts';
import { pause, turn } from './pause.ts';
import type { RecordRing } from './record-ring.ts';

const TWO32 = 0x1_0000_0000;
/** How long to wait when the ring is full, or has to be emptied. */
const FULL_MS = 1;
/** Records between two publications. */
const BATCH = 32;
/** Files up to this size that are read more than once are kept in memory. */
const KEEP_BYTES = 4 * 1024 * 1024;
const STOP_MS = 2000;

/** How to replay. */
export interface ReplayOptions {
  /** How many times; 0 is for ever. */
  readonly loops: number;
  /** At the distances of the file's time stamps, not as fast as possible. */
  readonly timed: boolean;
}

/** An open input file, and its name for messages. */
export interface ReplayFile {
  readonly name: string;
  readonly handle: FileHandle;
  /** Neither a pipe nor a device: it can be read again. */
  readonly regular: boolean;
}

/** One reading of a file from `start` to its end, or to `stop`. */
export class Replay {
  private readonly file: ReplayFile;
  private readonly ring: RecordRing;
  private readonly options: ReplayOptions;
  private readonly report: (error: Error) => void;
  private readonly window = new ByteWindow();
  private source: FileSource | undefined;
  private kept: Uint8Array | undefined;
  private running: Promise<void> | undefined;
  private stopped = false;
  private over = false;
  /** Time of the file's first packet, in halves; and when the last one was due, over all loops so far. */
  private firstHi = 0;
  private firstLo = 0;
  private timeKnown = false;
  private shift = 0;
  private due = 0;

  /** `report` hears of what ended the reading early, once the packets before it have been delivered. */
  constructor(file: ReplayFile, ring: RecordRing, options: ReplayOptions, report: (error: Error) => void) {
    this.file = file;
    this.ring = ring;
    this.options = options;
    this.report = report;
  }

  /** Begins. */
  start(): void {
    this.running = this.run();
  }

  /** True when every packet that will ever come has been delivered. */
  get finished(): boolean {
    return this.over && this.ring.empty;
  }

  /** Ends the reading. Resolves when the file is no longer read, or after a deadline. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.source?.stop();
    if (this.running !== undefined) await inTime(this.running, STOP_MS);
  }

  private async run(): Promise<void> {
    try {
      await this.loops();
    } catch (error) {
      // What precedes the broken part is delivered first.
      if (!this.stopped) this.ring.publish();
      while (!this.stopped && !this.ring.empty) await pause(FULL_MS);
      this.report(error as Error);
    } finally {
      this.over = true;
    }
  }

  private async loops(): Promise<void> {
    const { loops } = this.options;
    for (let loop = 0; !this.stopped && (loops === 0 || loop < loops); loop++) {
      const packets = await this.once();
      // Without packets the next loop would be like this one: nothing, for ever.
      if (packets === 0) return;
      this.shift = this.due;
    }
  }

  private async once(): Promise<number> {
    this.window.reset();
    const reader = new CaptureReader(this.file.name, await this.open(), this.window);
    let packets = 0;
    do {
      while (!this.stopped && reader.next()) {
        packets++;
        const due = this.options.timed ? this.dueTime(reader.record) : 0;
        while (!this.ring.put(reader.record, due)) {
          this.ring.publish();
          await pause(FULL_MS);
          if (this.stopped) return packets;
        }
        if (packets % BATCH === 0) this.ring.publish();
      }
      // The ring may be gone, once we were told to stop.
      if (this.stopped) return packets;
      this.ring.publish();
      await turn();
    } while (!this.stopped && (await reader.fill()));
    return packets;
  }

  /** Nanoseconds after the very first packet; a later loop's come after the loop before. Never before its predecessor's. */
  private dueTime(record: PacketRecord): number {
    const { timeHi, timeLo } = record;
    // A simple packet block has no time: it goes with its predecessor.
    if (timeHi === 0 && timeLo === 0) return this.due;
    if (!this.timeKnown) {
      this.firstHi = timeHi;
      this.firstLo = timeLo;
      this.timeKnown = true;
    }
    const since = (timeHi - this.firstHi) * TWO32 + (timeLo - this.firstLo);
    this.due = Math.max(this.due, this.shift + since);
    return this.due;
  }

  private async open(): Promise<ByteSource> {
    const { name, handle, regular } = this.file;
    if (this.kept !== undefined) return keptSource(this.kept);
    this.source = new FileSource(name, handle);
    if (this.options.loops === 1 || !regular) return this.source;
    const { size } = await handle.stat();
    if (size > KEEP_BYTES) return this.source;
    const all = new Uint8Array(size);
    let length = 0;
    while (length < size) {
      const count = await this.source.read(all, length, size - length);
      if (count === 0) break;
      length += count;
    }
    this.kept = all.subarray(0, length);
    return keptSource(this.kept);
  }
}

function keptSource(bytes: Uint8Array): ByteSource {
  let at = 0;
  return {
    async read(into, to, length) {
      const count = Math.min(length, bytes.length - at);
      into.set(bytes.subarray(at, at + count), to);
      at += count;
      return count;
    },
  };
}
