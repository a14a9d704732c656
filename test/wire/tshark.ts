/** tshark as an oracle: what it reads in our packets, and what it says of their checksums. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A pcap file of Ethernet frames, by hand: what is tested must not also write the file. */
export function pcapOf(frames: readonly Uint8Array[]): Uint8Array {
  const parts = [words(0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1)];
  for (const [i, frame] of frames.entries()) parts.push(words(1_700_000_000, i, frame.length, frame.length), frame);
  return Buffer.concat(parts);
}

const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

function version(): string | undefined {
  try {
    return execFileSync('tshark', ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split(
      '\n',
    )[0];
  } catch {
    return undefined;
  }
}

/**
 * Why tests with tshark are skipped, or undefined when they are not. In CI a missing tool is no reason: there the
 * tests run and fail.
 */
export const noTshark: string | undefined =
  version() === undefined && !process.env.CI ? 'tshark is not installed (Debian package tshark)' : undefined;

const CHECKED = ['ip', 'udp', 'tcp'].flatMap((protocol) => ['-o', `${protocol}.check_checksum:TRUE`]);

// Flags are 1 and 0 up to tshark 4.0, True and False after it.
const plain = (value: string): string => (value === 'True' ? '1' : value === 'False' ? '0' : value);

/** Returns a row per frame with the values of `fields` in it, as tshark prints them. */
export function dissect(frames: readonly Uint8Array[], fields: readonly string[]): string[][] {
  const directory = mkdtempSync(join(tmpdir(), 'linecard-tshark-'));
  try {
    const file = join(directory, 'frames.pcap');
    writeFileSync(file, pcapOf(frames));
    const shape = ['-T', 'fields', '-E', 'separator=;', ...fields.flatMap((field) => ['-e', field])];
    const text = execFileSync('tshark', ['-n', '-r', file, ...CHECKED, ...shape], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 1 << 26,
      timeout: 15_000,
    });
    return text
      .trimEnd()
      .split('\n')
      .map((line) => line.split(';').map(plain));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
