/** A function's configuration space, byte by byte as the test writes it; notes what is written. */
import type { ConfigSpace } from '../../lib/pci/config-space.ts';

export class FakeConfig implements ConfigSpace {
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly writes: (readonly [offset: number, width: number, value: number])[] = [];
  private readonly view: DataView;

  constructor(size = 256) {
    this.size = size;
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
  }

  read(offset: number, width: 8 | 16 | 32): number {
    return this.access(offset, width)[0]();
  }

  write(offset: number, width: 8 | 16 | 32, value: number): void {
    this.writes.push([offset, width, value]);
    this.access(offset, width)[1](value);
  }

  /** Writes `values` from `offset` on. */
  put(offset: number, ...values: number[]): this {
    this.bytes.set(values, offset);
    return this;
  }

  private access(offset: number, width: 8 | 16 | 32): [() => number, (value: number) => void] {
    const { view } = this;
    if (width === 8) return [() => view.getUint8(offset), (v) => view.setUint8(offset, v)];
    if (width === 16) return [() => view.getUint16(offset, true), (v) => view.setUint16(offset, v, true)];
    return [() => view.getUint32(offset, true), (v) => view.setUint32(offset, v, true)];
  }
}
