/**
 * A peer's address space: windows of 2 GiB, reserved once, over which files of the peer are mapped and taken away again.
 * Nothing of ours lies in them, so no address that a peer names can reach a frame. Main thread.
 */
import type { Native } from '../../native/index.ts';
import { Ranges } from '../arena/ranges.ts';
import { reserve, WASM_PAGE, type WasmMemory } from '../arena/reserve.ts';
import type { PeerFile } from './peer-file.ts';
import { refusal } from './refusal.ts';
import type { PeerPlace } from './types.ts';

/** Offsets in a window are non-negative int32. */
export const WINDOW_BYTES = 2 ** 31;

/** Pieces of one region overlap by this much, so that a ring (at most 512 KiB) is whole in one of them. */
const OVERLAP = 2 ** 21;
/** Smaller pieces are not worth it. */
const LEAST_PIECE = 2 ** 26;

/** A piece of a mapped range: bytes [from, from + bytes) of it. */
export interface Piece extends PeerPlace {
  readonly from: number;
  readonly bytes: number;
}

/** A range of a file that is mapped, in pieces. Belongs to whoever mapped it, until `unmap`. */
export interface Mapping {
  readonly pieces: readonly Piece[];
  readonly parts: readonly Part[];
}

interface Part {
  readonly window: number;
  readonly offset: number;
  readonly length: number;
  readonly guard: number;
}

interface Window {
  readonly wasm: WasmMemory;
  readonly bytes: Uint8Array;
  readonly ranges: Ranges;
}

const up = (n: number, unit: number): number => Math.ceil(n / unit) * unit;
const down = (n: number, unit: number): number => Math.floor(n / unit) * unit;

/** Reserved addresses. Close it last: nobody may look at them any more. */
export class PeerMemory {
  readonly windows: readonly SharedArrayBuffer[];
  private readonly native: Native;
  private readonly all: readonly Window[];

  /** Reserves addresses for `gib` GiB of a peer's memory. Throws `NO_ADDRESS_SPACE`. */
  constructor(native: Native, gib: number) {
    this.native = native;
    // One more than they fill: regions are not as they would have to be to fill them, and a new table is mapped beside the old.
    this.all = Array.from({ length: Math.ceil(gib / 2) + 1 }, () => {
      const wasm = reserve(WINDOW_BYTES);
      // Offset 0 is nobody's, as in the arena.
      return { wasm, bytes: new Uint8Array(wasm.buffer), ranges: new Ranges('peer', WASM_PAGE, WINDOW_BYTES, 4096) };
    });
    this.windows = this.all.map(({ wasm }) => wasm.buffer);
  }

  /** Maps `bytes` of the file from `offset`. Throws a refusal when there is no room, or the file does not allow it. */
  map(file: PeerFile, offset: number, bytes: number): Mapping {
    const { page } = file;
    const start = down(offset, page);
    const end = up(offset + bytes, page);
    const overlap = page > OVERLAP ? 0 : OVERLAP;
    const parts: Part[] = [];
    const pieces: Piece[] = [];
    try {
      for (let at = start; at < end; ) {
        const part = this.mapPart(file, at, end - at);
        parts.push(part);
        const first = Math.max(at, offset);
        const stop = Math.min(at + part.length, offset + bytes);
        const { window } = part;
        pieces.push({ window, offset: part.offset + (first - at), from: first - offset, bytes: stop - first });
        at += at + part.length >= end ? part.length : part.length - overlap;
      }
      return { pieces, parts };
    } catch (error) {
      this.unmap({ pieces, parts });
      throw error;
    }
  }

  /** Maps as much of [at, at + length) of the file as fits into one window. */
  private mapPart(file: PeerFile, at: number, length: number): Part {
    const { page, fd } = file;
    for (let want = Math.min(length, down(WINDOW_BYTES - WASM_PAGE, page)); ; want = down(want / 2, page)) {
      if (want < Math.min(length, Math.max(LEAST_PIECE, page)))
        throw refusal(
          'memory',
          `there is no room for ${length} bytes of it: more memory than the port was opened for`,
          'VHOST_NO_ROOM',
        );
      for (const [window, { bytes, ranges }] of this.all.entries()) {
        const remainder = (page - this.native.addressRemainder(bytes, page)) % page;
        const offset = ranges.tryTake(want, page, remainder);
        if (offset === undefined) continue;
        try {
          return { window, offset, length: want, guard: this.native.mapPeer(bytes, offset, want, fd, at) };
        } catch (error) {
          ranges.give(offset);
          throw refusal('memory', `it cannot be mapped (${(error as Error).message})`, 'VHOST_MAP_FAILED');
        }
      }
    }
  }

  /** Takes it out again; reads zeros from now on. */
  unmap({ parts }: Mapping): void {
    for (const { window, offset, length, guard } of parts) {
      const { bytes, ranges } = this.all[window];
      this.native.unmapPeer(bytes, offset, length, guard);
      ranges.give(offset);
    }
  }

  /** Whether something of it was missing when it was used: its file was made shorter. */
  faulted({ parts }: Mapping): boolean {
    return parts.some(({ guard }) => this.native.peerFaulted(guard));
  }

  /** Maps new memory of our own, zeroed and sealed, to share it with the peer; the fd is the caller's. */
  make(bytes: number): { readonly place: PeerPlace; readonly length: number; readonly fd: number } {
    const length = up(bytes, 4096);
    for (const [window, { bytes: array, ranges }] of this.all.entries()) {
      const offset = ranges.tryTake(length);
      if (offset === undefined) continue;
      try {
        return { place: { window, offset }, length, fd: this.native.mapMemory(array, offset, length, false) };
      } catch (error) {
        ranges.give(offset);
        throw refusal('memory', `${length} bytes cannot be had (${(error as Error).message})`, 'VHOST_NO_ROOM');
      }
    }
    throw refusal('memory', `there is no room for ${length} bytes`, 'VHOST_NO_ROOM');
  }

  /** Takes out what `make` made; the fd is not closed by it. */
  unmake({ window, offset }: PeerPlace, length: number): void {
    const { bytes, ranges } = this.all[window];
    this.native.unmap(bytes, offset, length);
    ranges.give(offset);
  }

  /** Bytes that are mapped. */
  get used(): number {
    return this.all.reduce((sum, { ranges }) => sum + ranges.used, 0);
  }
}
