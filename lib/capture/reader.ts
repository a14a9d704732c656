/** Reads captures, pcap or pcapng, a piece at a time: what is kept in memory is bounded, whatever the file says. */

import type { FileHandle } from 'node:fs/promises';
import { malformed } from './errors.ts';
import { BLOCK } from './format.ts';
import { isPcapMagic, PcapDecoder } from './pcap.ts';
import { PcapngDecoder } from './pcapng.ts';
import { emptyRecord } from './record.ts';
import { type ByteSource, FileSource, openInput } from './source.ts';
import { timeOf } from './time.ts';
import type { CaptureInterface, CapturePacket, PacketRecord } from './types.ts';
import { ByteWindow } from './window.ts';

/** Bytes that tell one format from the other. */
const MAGIC_LENGTH = 4;

/**
 * A cursor over the packets of a capture. `next` steps without waiting, through what has been read; `fill` reads more.
 * Both throw `CaptureError`; what precedes the broken part has been delivered by then.
 */
export class CaptureReader {
  /** The packet that the cursor stands at, overwritten by `next`. */
  readonly record: PacketRecord = emptyRecord();
  private readonly file: string;
  private readonly source: ByteSource;
  private readonly window: ByteWindow;
  private decoder: PcapDecoder | PcapngDecoder | undefined;
  private failure: unknown;

  /** `file` is the name for messages. The source stays its owner's; `window` is for tests. */
  constructor(file: string, source: ByteSource, window = new ByteWindow()) {
    this.file = file;
    this.source = source;
    this.window = window;
  }

  /** `undefined` before the first bytes were read. */
  get format(): 'pcap' | 'pcapng' | undefined {
    if (this.decoder === undefined) return undefined;
    return this.decoder instanceof PcapDecoder ? 'pcap' : 'pcapng';
  }

  /** Interfaces described so far, of all sections. */
  get interfaces(): readonly CaptureInterface[] {
    return this.decoder?.interfaces ?? [];
  }

  /** Steps to the next packet. False when more must be read first. */
  next(): boolean {
    if (this.failure !== undefined) throw this.failure;
    try {
      this.decoder ??= this.detect();
      return this.decoder?.next(this.window, this.record) ?? false;
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }

  /** Reads more. False at the end of the file; throws `CAPTURE_TRUNCATED` when that is in the middle of something. */
  async fill(): Promise<boolean> {
    const room = this.window.makeRoom();
    const count = await this.source.read(this.window.bytes, this.window.end, room);
    this.window.end += count;
    if (count === 0 && (this.decoder === undefined || this.window.length > 0)) throw this.truncated();
    return count > 0;
  }

  /** All packets from the cursor on, each in memory of its own. */
  async *packets(): AsyncGenerator<CapturePacket & { readonly originalLength: number }> {
    do {
      while (this.next()) yield copyOf(this.record);
    } while (await this.fill());
  }

  private detect(): PcapDecoder | PcapngDecoder | undefined {
    const { view, start, length } = this.window;
    if (length < MAGIC_LENGTH) return undefined;
    if (view.getUint32(start, true) === BLOCK.sectionHeader) return new PcapngDecoder(this.file);
    if (isPcapMagic(view, start)) return new PcapDecoder(this.file);
    const magic = view.getUint32(start, false).toString(16).padStart(8, '0');
    const why = `it starts with ${magic}, which is neither pcap nor pcapng`;
    throw malformed(
      'CAPTURE_BAD_MAGIC',
      this.file,
      0,
      why,
      'name a capture file; decompress it first if it is compressed',
    );
  }

  private truncated(): Error {
    const { position, length } = this.window;
    const end = position + length;
    const why = end === 0 ? 'it is empty' : `the file ends at byte ${end}, in the middle of what starts here`;
    return malformed('CAPTURE_TRUNCATED', this.file, position, why);
  }
}

function copyOf(record: PacketRecord): CapturePacket & { readonly originalLength: number } {
  const { start, captured } = record;
  return {
    interface: record.interface,
    timestamp: timeOf(record),
    originalLength: record.original,
    direction: record.direction,
    data: record.bytes.slice(start, start + captured),
  };
}

/** An open capture file and its reader. */
export interface OpenCapture {
  readonly reader: CaptureReader;
  readonly handle: FileHandle;
  close(): Promise<void>;
}

/** Opens `path` for reading: a file or a pipe. Throws `CAPTURE_NOT_FOUND`, `CAPTURE_NOT_A_FILE`, `CAPTURE_DENIED`. */
export async function openCapture(path: string): Promise<OpenCapture> {
  const handle = await openInput(path);
  const source = new FileSource(path, handle);
  return { reader: new CaptureReader(path, source), handle, close: () => handle.close() };
}
