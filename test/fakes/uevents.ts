/** A kernel that tells of devices: uevents laid out by hand, and a `Native` that brings them. */
import type { Native } from '../../native/index.ts';

/** The bytes of one uevent. */
export function ueventBytes(action: string, address: string, subsystem = 'pci'): Uint8Array {
  const path = `/devices/pci0000:00/${address}`;
  const lines = [`${action}@${path}`, `ACTION=${action}`, `DEVPATH=${path}`, `SUBSYSTEM=${subsystem}`];
  return Buffer.from([...lines, `PCI_SLOT_NAME=${address}`, 'SEQNUM=4711', ''].join('\0'));
}

export class FakeUevents {
  /** What is to be received: datagrams, or an errno. */
  readonly queue: (Uint8Array | number)[] = [];
  readonly open = new Set<number>();
  bindError = 0;
  private fds = 100;

  get native(): Native {
    const fail = (syscall: string, errno: number): never => {
      throw Object.assign(new Error(syscall), { syscall, errno: -errno });
    };
    return {
      socket: () => {
        this.open.add(++this.fds);
        return this.fds;
      },
      bind: () => (this.bindError === 0 ? undefined : fail('bind', this.bindError)),
      receive: (_fd: number, bytes: Uint8Array) => {
        const next = this.queue.shift();
        if (next === undefined) return -1;
        if (typeof next === 'number') return fail('recv', next);
        bytes.set(next.subarray(0, bytes.length));
        return next.length;
      },
      close: (fd: number) => this.open.delete(fd),
    } as unknown as Native;
  }
}
