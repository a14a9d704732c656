/**
 * What an IOMMU kept devices from. The kernel tells that to nobody but its log (Linux, Documentation/ABI/testing/dev-kmsg;
 * drivers/iommu/intel/dmar.c, drivers/iommu/amd/iommu.c), which may be read by root, or by all where dmesg_restrict is 0.
 * Control half.
 */
import { constants } from 'node:os';
import type { VfioKernel } from './kernel.ts';

/** A record has up to 8 KiB (CONSOLE_EXT_LOG_MAX). */
const RECORD = 8192;
/** Most records that are read at a time. */
const MOST = 10_000;
/** More than the kernel's buffer has room for: 32 MiB at most (CONFIG_LOG_BUF_SHIFT), and a record has some 100 bytes. */
const ALL = 2 ** 20;

const PATTERNS: readonly RegExp[] = [
  /DMAR: \[(?<kind>DMA (?:Read|Write))[^\]]*\] Request device \[(?<device>[0-9a-f:.]+)\].* fault addr (?<at>\w+)/,
  /(?<device>[0-9a-f:.]+): AMD-Vi: Event logged \[(?<kind>IO_PAGE_FAULT).* address=(?<at>\w+)/,
  /AMD-Vi: Event logged \[(?<kind>IO_PAGE_FAULT) device=(?<device>[0-9a-f:.]+).* address=(?<at>\w+)/,
];

/** A fault: the function that caused it, as the log has it (with or without its domain), and what it did. */
export interface Fault {
  readonly device: string;
  readonly what: string;
}

/** The fault that a record of the log tells of, if it is the kernel's own and does. */
export function parseFault(record: string): Fault | undefined {
  // "priority and facility,number,time,…;text": facility 0 is the kernel.
  const semicolon = record.indexOf(';');
  if (semicolon < 0 || !(Number.parseInt(record, 10) < 8)) return undefined;
  const [text = ''] = record.slice(semicolon + 1).split('\n', 1);
  for (const pattern of PATTERNS) {
    const { device, kind, at } = pattern.exec(text)?.groups ?? {};
    if (device !== undefined) return { device, what: `${kind} at ${at?.startsWith('0x') ? at : `0x${at}`}` };
  }
  return undefined;
}

/** The kernel's log, from now on. */
export class FaultLog {
  private readonly kernel: VfioKernel;
  private readonly fd: number;
  private readonly buffer = new Uint8Array(RECORD);
  private readonly listeners = new Map<string, (text: string) => void>();

  private constructor(kernel: VfioKernel, fd: number) {
    this.kernel = kernel;
    this.fd = fd;
  }

  /** Opens it; undefined where it may not be read: then faults stay unknown. */
  static open(kernel: VfioKernel): FaultLog | undefined {
    let log: FaultLog;
    try {
      log = new FaultLog(kernel, kernel.openLog('/dev/kmsg'));
    } catch {
      return undefined;
    }
    // What is there is about others.
    for (let i = 0; i < ALL && log.next() !== undefined; i++);
    return log;
  }

  /** Has `told` called for faults of the function at `address`; returns how to end that. */
  watch(address: string, told: (text: string) => void): () => void {
    this.listeners.set(address, told);
    return () => this.listeners.delete(address);
  }

  /** Tells of the faults since it was looked the last time, once per function. */
  look(): void {
    const faults = new Map<string, { count: number; last: string }>();
    for (let i = 0; i < MOST; i++) {
      const record = this.next();
      if (record === undefined) break;
      const fault = parseFault(record);
      const address = fault === undefined ? undefined : this.addressOf(fault.device);
      if (fault === undefined || address === undefined) continue;
      faults.set(address, { count: (faults.get(address)?.count ?? 0) + 1, last: fault.what });
    }
    for (const [address, { count, last }] of faults) {
      const times = count === 1 ? '' : `${count} times, the last time `;
      this.listeners.get(address)?.(`the IOMMU kept it from memory that is not its own: ${times}${last}`);
    }
  }

  close(): void {
    this.kernel.close(this.fd);
  }

  /** The next record; empty when some were overwritten before they were read; undefined when there is none, or no log any more. */
  private next(): string | undefined {
    const length = this.kernel.readNow(this.fd, this.buffer);
    if (length > 0) return Buffer.from(this.buffer.subarray(0, length)).toString('latin1');
    return length === -constants.errno.EPIPE ? '' : undefined;
  }

  /** Which listener's function `device` is; in the log its domain may be missing. */
  private addressOf(device: string): string | undefined {
    return [...this.listeners.keys()].find((address) => address === device || address === `0000:${device}`);
  }
}
