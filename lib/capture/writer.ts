/** Writes pcapng files, a piece at a time. */
import { arch, release, type } from 'node:os';
import {
  enhancedPacket,
  interfaceDescription,
  interfaceStatistics,
  type SectionInfo,
  sectionHeader,
} from './encode.ts';
import type { ByteSink } from './sink.ts';
import { writeAll } from './sink.ts';
import type { CapturePacket } from './types.ts';

/** Bytes gathered before they are written. */
const BATCH = 256 * 1024;

interface Counts {
  received: bigint;
  dropped: bigint;
}

/** Returns what this program says about itself in a section header. */
export function ownSection(): SectionInfo {
  return { hardware: arch(), os: `${type()} ${release()}`, application: 'linecard' };
}

/** One section of a pcapng file, written to a sink that stays its owner's. Failures are `CaptureError`s of the sink. */
export class PcapngWriter {
  private readonly sink: ByteSink;
  private readonly now: () => bigint;
  private readonly start: bigint;
  private readonly counts: Counts[] = [];
  private pieces: Uint8Array[] = [];
  private pending = 0;

  /** `now` is the clock for the statistics, in nanoseconds since 1970. */
  constructor(sink: ByteSink, info: SectionInfo = ownSection(), now = () => BigInt(Date.now()) * 1_000_000n) {
    this.sink = sink;
    this.now = now;
    this.start = now();
    this.gather(sectionHeader(info));
  }

  /** Describes an interface; returns its number. */
  addInterface(name: string, snapLength = 0): number {
    this.gather(interfaceDescription(name, snapLength));
    return this.counts.push({ received: 0n, dropped: 0n }) - 1;
  }

  /** Writes one packet of an interface that was added. Resolves at once as long as there is room to gather. */
  async write(packet: CapturePacket): Promise<void> {
    const { data } = packet;
    this.counts[packet.interface].received += 1n;
    const { originalLength = data.length, direction = 0 } = packet;
    this.gather(enhancedPacket({ ...packet, originalLength, direction }));
    if (this.pending >= BATCH) await this.flush();
  }

  /** Counts packets of an interface that were lost before they could be written. */
  countDropped(id: number, packets: bigint): void {
    this.counts[id].dropped += packets;
  }

  /** Hands all that was gathered to the sink. */
  async flush(): Promise<void> {
    const bytes = Buffer.concat(this.pieces);
    this.pieces = [];
    this.pending = 0;
    await writeAll(this.sink, bytes, 0, bytes.length);
  }

  /** Writes the statistics of each interface, and flushes. The last call. */
  async close(): Promise<void> {
    const time = this.now();
    this.counts.forEach((counts, id) => {
      // Received is all that came, written or not: §4.6.
      const received = counts.received + counts.dropped;
      this.gather(interfaceStatistics(id, { time, start: this.start, received, dropped: counts.dropped }));
    });
    await this.flush();
  }

  private gather(bytes: Uint8Array): void {
    this.pieces.push(bytes);
    this.pending += bytes.length;
  }
}
