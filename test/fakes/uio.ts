/** A function that uio_pci_generic has: files of the tests' own in the places of sysfs' and devfs'. */
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, unlinkSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { loadNative } from '../../native/index.ts';
import { type FakeFunction, FakeSysfs } from './sysfs.ts';

const BAR0 = 0x2_0000;

export class FakeUio {
  readonly sysfs = new FakeSysfs();
  readonly address = '0000:01:00.0';
  readonly place: { readonly native: ReturnType<typeof loadNative>; readonly sysfs: string; readonly dev: string };
  private readonly folder: string;

  /** BAR 0 is memory, BAR 2 ports, BAR 3 less than a page. */
  constructor(made: FakeFunction = {}) {
    const line = (start: number, bytes: number, flags: string) =>
      `0x${start.toString(16).padStart(16, '0')} 0x${(start + bytes - 1).toString(16).padStart(16, '0')} ${flags}`;
    const none = '0x0000000000000000 0x0000000000000000 0x0000000000000000';
    const memory = '0x0000000000040200';
    const resource = [
      line(0xfe00_0000, BAR0, memory),
      none,
      line(0x1000, 32, '0x0000000000040101'),
      line(0xfe80_0800, 512, memory),
    ];
    this.sysfs.add(this.address, { vendor: '0x8086', device: '0x10d3', driver: 'uio_pci_generic', resource, ...made });
    this.folder = join(this.sysfs.root, 'devices/pci0000:00', this.address);
    const config = Buffer.alloc(4096);
    config.writeUInt16LE(0x8086, 0);
    config.writeUInt16LE(0x10d3, 2);
    config[0x3d] = 1;
    writeFileSync(join(this.folder, 'config'), config);
    writeFileSync(join(this.folder, 'resource0'), Buffer.alloc(BAR0));
    writeFileSync(join(this.folder, 'reset'), '');
    this.sysfs.write(`devices/pci0000:00/${this.address}/irq`, '11');
    mkdirSync(join(this.folder, 'uio/uio3'), { recursive: true });
    const dev = join(this.sysfs.root, 'dev');
    mkdirSync(dev);
    writeFileSync(join(dev, 'uio3'), '');
    this.place = { native: loadNative(), sysfs: this.sysfs.root, dev };
  }

  /** The command register. */
  get command(): number {
    return readFileSync(join(this.folder, 'config')).readUInt16LE(4);
  }
  set command(value: number) {
    this.put(4, value & 0xff, value >> 8);
  }

  /** Whether it was reset. */
  get resets(): string {
    return readFileSync(join(this.folder, 'reset'), 'utf8');
  }

  put(offset: number, ...bytes: number[]): void {
    const fd = openSync(join(this.folder, 'config'), 'r+');
    writeSync(fd, Uint8Array.from(bytes), 0, bytes.length, offset);
    closeSync(fd);
  }

  /** Takes a file away. */
  without(name: string): this {
    rmSync(join(this.folder, name), { recursive: true });
    return this;
  }

  /** Another kernel driver takes it. */
  rebind(driver: string): void {
    unlinkSync(join(this.folder, 'driver'));
    this.sysfs.link(`devices/pci0000:00/${this.address}/driver`, `../../../bus/pci/drivers/${driver}`);
  }
}
