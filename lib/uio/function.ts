/**
 * A PCI function that uio_pci_generic has, by its files: `/dev/uioN` for its interrupt line, sysfs for the rest (Linux,
 * Documentation/driver-api/uio-howto.rst; Documentation/ABI/testing/sysfs-bus-pci). Control half.
 */
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { INTERRUPT_LINE, type Native } from '../../native/index.ts';
import { DevioError } from '../errors.ts';
import { type FunctionAccess, type FunctionNews, type InterruptSource, LOOK_MS, type Region } from '../pci/access.ts';
import { COMMAND, type ConfigSpace, changeCommand, HEADER } from '../pci/config-space.ts';
import { driverOf, readFunction } from '../pci/device.ts';
import type { InterruptKind, Interrupts } from '../pci/devio.ts';
import { FileConfig } from '../pci/file-config.ts';
import { everyMs } from '../pulse.ts';
import { errnoName, systemError } from '../system-error.ts';

/** The kernel driver. */
export const UIO_DRIVER = 'uio_pci_generic';

const PAGE = 4096;

/** Where things are. */
export interface UioPlace {
  readonly native: Pick<Native, 'flock'>;
  /** Root of sysfs. */
  readonly sysfs: string;
  /** Folder of device files. */
  readonly dev: string;
}

const FILES = {
  read: (fd: number, bytes: Uint8Array, position: number) => readSync(fd, bytes, 0, bytes.length, position),
  write: (fd: number, bytes: Uint8Array, position: number) => writeSync(fd, bytes, 0, bytes.length, position),
};

const FIXES: Readonly<Record<string, string>> = {
  EACCES: 'be root: UIO gives a device that reaches all memory',
  EPERM: 'be root: UIO gives a device that reaches all memory',
  ENOENT: 'check that it is still bound: linecard status',
  ENODEV: 'the device has gone: check the card and its slot',
  EBUSY: 'another program has it: end that one first',
};

const failed = (code: string, what: string, cause: unknown): Error => systemError(DevioError, code, what, cause, FIXES);

function refused(code: string, what: string, why: string, fix: string): DevioError {
  return new DevioError(code, { what, why, fix });
}

function openFile(path: string): number {
  try {
    return openSync(path, 'r+');
  } catch (cause) {
    throw failed('UIO_OPEN', path, cause);
  }
}

/** The name of the function's UIO device: `uio0`. Throws `UIO_OPEN`. */
function uioName(folder: string, address: string): string {
  try {
    const [name] = readdirSync(join(folder, 'uio')).filter((one) => /^uio\d+$/.test(one));
    if (name !== undefined) return name;
  } catch (error) {
    if (errnoName(error) !== 'ENOENT') throw failed('UIO_OPEN', join(folder, 'uio'), error);
  }
  throw refused(
    'UIO_OPEN',
    `device ${address}`,
    'it has no UIO device',
    `bind it: linecard bind ${address} ${UIO_DRIVER}`,
  );
}

/** The interrupt line. The fds are the function's. */
class UioInterrupts implements InterruptSource {
  readonly vectors: Readonly<Record<InterruptKind, number>>;
  private readonly device: UioFunction;
  private on = false;

  constructor(device: UioFunction) {
    this.device = device;
    // Vectors are writes to a table that is the kernel's, and this kernel driver knows none.
    this.vectors = { msix: 0, msi: 0, intx: device.hasLine ? 1 : 0 };
  }

  enable(kind: InterruptKind, count: number): Interrupts {
    const { config, address, fd, configFd } = this.device;
    if (!Number.isInteger(count) || count < 1 || count > this.vectors[kind]) {
      const why = kind === 'intx' ? `it has ${this.vectors.intx}` : `${UIO_DRIVER} has none of that kind`;
      throw refused(
        'NO_INTERRUPTS',
        `${count} ${kind} vectors of ${address}`,
        why,
        'ask for its interrupt line (intx), if it has one',
      );
    }
    this.on = true;
    changeCommand(config, 0, COMMAND.interruptDisable);
    return { kind: 'intx', fds: [fd], unmask: INTERRUPT_LINE + configFd };
  }

  disable(): void {
    if (!this.on) return;
    this.on = false;
    if (this.device.absence() === undefined) changeCommand(this.device.config, COMMAND.interruptDisable, 0);
  }
}

/** An open function. A second opener, of this engine or another, is refused. */
export class UioFunction implements FunctionAccess {
  readonly address: string;
  readonly config: ConfigSpace;
  readonly configFd: number;
  readonly configFile: FunctionAccess['configFile'];
  /** The device file: readable after an interrupt; when it is closed, the kernel clears bus master. */
  readonly fd: number;
  readonly resettable: boolean;
  private readonly place: UioPlace;
  private readonly folder: string;
  private readonly fds: number[] = [];

  /**
   * Opens it, or takes over the files of one that is open, its lock with them. Throws `UIO_OPEN`, `UIO_BUSY`; the files are
   * closed then.
   */
  constructor(place: UioPlace, address: string, files?: { readonly fd: number; readonly configFd: number }) {
    this.place = place;
    this.address = address;
    this.folder = join(place.sysfs, 'bus/pci/devices', address);
    try {
      this.configFd = this.keep(files?.configFd ?? openFile(join(this.folder, 'config')));
      if (files === undefined) this.lock();
      this.fd = this.keep(files?.fd ?? openFile(join(place.dev, uioName(this.folder, address))));
      this.configFile = { fd: this.configFd, position: 0 };
      this.config = new FileConfig(FILES, this.configFd, 0, fstatSync(this.configFd).size);
    } catch (error) {
      this.close();
      throw error;
    }
    this.resettable = existsSync(join(this.folder, 'reset'));
  }

  private keep(fd: number): number {
    this.fds.push(fd);
    return fd;
  }

  private lock(): void {
    try {
      this.place.native.flock(this.configFd);
    } catch (cause) {
      if (errnoName(cause) !== 'EAGAIN') throw failed('UIO_OPEN', `locking ${this.address}`, cause);
      throw refused('UIO_BUSY', `device ${this.address}`, 'another engine has it', 'end that one first');
    }
  }

  /** Whether it has an interrupt line that the kernel serves. */
  get hasLine(): boolean {
    return this.config.read(HEADER.interruptPin, 8) !== 0 && Number(this.text('irq')) > 0;
  }

  private text(name: string): string {
    try {
      return readFileSync(join(this.folder, name), 'utf8').trim();
    } catch {
      return '';
    }
  }

  region(number: number): Region {
    const none = { fd: -1, bytes: 0, offset: 0, areas: [] };
    const bar = readFunction(this.place.sysfs, this.address)?.bars.find((one) => one.number === number);
    if (bar === undefined) return none;
    // What is shorter than a page may share it with another device's registers.
    if (bar.kind !== 'memory' || bar.bytes % PAGE !== 0) return { ...none, bytes: bar.bytes };
    const fd = this.keep(openFile(join(this.folder, `resource${number}`)));
    const bytes = fstatSync(fd).size;
    return { fd, bytes, offset: 0, areas: [{ at: 0, length: bytes, fdOffset: 0 }] };
  }

  reset(): void {
    const what = `resetting ${this.address}`;
    if (!this.resettable) {
      throw refused('NO_RESET', what, 'neither the function nor its slot has a way', 'power the machine off and on');
    }
    let fd = -1;
    try {
      fd = openSync(join(this.folder, 'reset'), 'w');
      writeSync(fd, '1');
    } catch (cause) {
      throw failed('UIO_RESET', what, cause);
    } finally {
      if (fd >= 0) closeSync(fd);
    }
  }

  interrupts(): InterruptSource {
    return new UioInterrupts(this);
  }

  absence(): string | undefined {
    const driver = driverOf(this.place.sysfs, this.address);
    if (driver === undefined) return 'it has been removed';
    // Nothing keeps anybody from giving it to another kernel driver: from then on it is that one's.
    return driver === UIO_DRIVER ? undefined : `${driver || 'nobody'} has it now, not ${UIO_DRIVER}`;
  }

  watch(news: FunctionNews, look: () => void): { close(): void } {
    const pulse = everyMs(LOOK_MS, () => {
      const absence = this.absence();
      if (absence === undefined) look();
      else news.lost(absence);
    });
    return { close: () => pulse.stop() };
  }

  close(): void {
    for (const fd of this.fds.splice(0)) closeSync(fd);
  }
}
