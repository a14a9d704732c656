/** Reads a capture to its end or to its first error. */
import { CaptureReader } from '../../lib/capture/reader.ts';
import type { CaptureInterface, CapturePacket } from '../../lib/capture/types.ts';
import type { CaptureError } from '../../lib/errors.ts';
import { bytesSource } from './bytes.ts';

/** What was read, and what ended it. */
export interface Reading {
  readonly packets: CapturePacket[];
  readonly interfaces: readonly CaptureInterface[];
  readonly error: CaptureError | undefined;
}

/** Reads `bytes`, at most `chunk` at a time. */
export async function read(bytes: Uint8Array, chunk?: number): Promise<Reading> {
  const reader = new CaptureReader('test.pcap', bytesSource(bytes, chunk));
  const packets: CapturePacket[] = [];
  let error: CaptureError | undefined;
  try {
    for await (const packet of reader.packets()) packets.push(packet);
  } catch (caught) {
    error = caught as CaptureError;
  }
  return { packets, interfaces: reader.interfaces, error };
}
