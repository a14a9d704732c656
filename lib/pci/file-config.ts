/** Configuration space by reads and writes of a file: VFIO's, or sysfs'. Control half. */
import type { ConfigSpace } from './config-space.ts';

/** Reads and writes at positions of open files; they throw, or move fewer bytes. */
export interface PositionedFiles {
  read(fd: number, bytes: Uint8Array, position: number): number;
  write(fd: number, bytes: Uint8Array, position: number): number;
}

/** Made once: whether a function is there is read ten times a second. */
const VIEW = new DataView(new ArrayBuffer(4));
const PARTS = {
  8: new Uint8Array(VIEW.buffer, 0, 1),
  16: new Uint8Array(VIEW.buffer, 0, 2),
  32: new Uint8Array(VIEW.buffer),
};

/** Configuration space that begins at `position` of file `fd`. */
export class FileConfig implements ConfigSpace {
  readonly size: number;
  private readonly files: PositionedFiles;
  private readonly fd: number;
  private readonly position: number;

  constructor(files: PositionedFiles, fd: number, position: number, size: number) {
    this.files = files;
    this.fd = fd;
    this.position = position;
    this.size = size;
  }

  read(offset: number, width: 8 | 16 | 32): number {
    const part = PARTS[width];
    let count = 0;
    try {
      count = this.files.read(this.fd, part, this.position + offset);
    } catch {
      // Whatever is missing reads as below.
    }
    part.fill(0xff, count); // as on the bus, when nobody answers
    return width === 8 ? VIEW.getUint8(0) : width === 16 ? VIEW.getUint16(0, true) : VIEW.getUint32(0, true);
  }

  write(offset: number, width: 8 | 16 | 32, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    try {
      this.files.write(this.fd, bytes.subarray(0, width / 8), this.position + offset);
    } catch {
      // As on the bus: whoever has to know reads it back.
    }
  }
}
