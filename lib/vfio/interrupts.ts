/** Interrupts of a VFIO device as eventfds (VFIO_DEVICE_SET_IRQS). Control half. */
import { type FunctionNews, type InterruptSource, LOOK_MS } from '../pci/access.ts';
import type { InterruptKind, Interrupts } from '../pci/devio.ts';
import { everyMs, type Pulse } from '../pulse.ts';
import { errnoName } from '../system-error.ts';
import { IRQ_SET, IRQ_SET_FLAGS, PCI_IRQ, REQUEST } from './abi.ts';
import type { VfioDevice } from './device.ts';
import { failed, refused } from './failures.ts';
import { structure } from './info.ts';
import { closeAll } from './kernel.ts';

/**
 * Has the kernel signal `fds`, one per interrupt of kind `index`; none at all when there are none. Throws `NO_INTERRUPTS`
 * when it cannot have as many vectors: it calls that a success, and returns how many there would be
 * (Linux, `vfio_msi_enable` in drivers/vfio/pci/vfio_pci_intrs.c).
 */
function setIrqs(device: VfioDevice, index: number, fds: readonly number[], action: number = IRQ_SET_FLAGS.trigger) {
  const data = fds.length === 0 ? IRQ_SET_FLAGS.dataNone : IRQ_SET_FLAGS.dataEventfd;
  const argument = structure(IRQ_SET.data + fds.length * 4, (view) => {
    view.setUint32(IRQ_SET.flags, data | action, true);
    view.setUint32(IRQ_SET.index, index, true);
    view.setUint32(IRQ_SET.count, fds.length, true);
    for (const [i, fd] of fds.entries()) view.setInt32(IRQ_SET.data + i * 4, fd, true);
  });
  const most = device.kernel.ioctl(device.fd, REQUEST.deviceSetIrqs, argument);
  if (most === 0) return;
  const what = `${fds.length} vectors of ${device.address}`;
  throw refused('NO_INTERRUPTS', what, `the machine has ${most} left for it`, 'ask for fewer');
}

/** The interrupts of one device that are on. The fds are its own. */
export class VfioInterrupts implements InterruptSource {
  readonly vectors: Readonly<Record<InterruptKind, number>>;
  private readonly device: VfioDevice;
  private on: Interrupts | undefined;

  constructor(device: VfioDevice) {
    this.device = device;
    const count = (kind: InterruptKind) => device.count(PCI_IRQ[kind]);
    this.vectors = { msix: count('msix'), msi: count('msi'), intx: count('intx') };
  }

  /** Turns on `count` vectors; others that were on are off. Throws `NO_INTERRUPTS`. */
  enable(kind: InterruptKind, count: number): Interrupts {
    const what = `${count} ${kind} vectors of ${this.device.address}`;
    if (!Number.isInteger(count) || count < 1 || count > this.vectors[kind]) {
      throw refused('NO_INTERRUPTS', what, `it has ${this.vectors[kind]}`, 'ask for fewer, or for another kind');
    }
    this.disable();
    const { kernel } = this.device;
    const fds: number[] = [];
    const eventfd = () => {
      fds.push(kernel.eventfd());
      return fds.at(-1)!;
    };
    try {
      const vectors = Array.from({ length: count }, eventfd);
      const unmask = kind === 'intx' ? eventfd() : -1;
      // All at once: some kernels cannot add vectors to those that are on.
      setIrqs(this.device, PCI_IRQ[kind], vectors);
      this.on = { kind, fds: vectors, unmask };
      if (kind === 'intx') setIrqs(this.device, PCI_IRQ.intx, [unmask], IRQ_SET_FLAGS.unmask);
      return this.on;
    } catch (cause) {
      if (this.on === undefined) closeAll(kernel, fds);
      else this.disable();
      throw failed('NO_INTERRUPTS', what, cause, { ENOSPC: 'the machine has no more vectors: ask for fewer' });
    }
  }

  /** Turns them off. Idempotent. */
  disable(): void {
    const { on, device } = this;
    if (on === undefined) return;
    this.on = undefined;
    try {
      setIrqs(device, PCI_IRQ[on.kind], []);
    } catch (cause) {
      // What has gone does not interrupt.
      if (errnoName(cause) !== 'ENODEV')
        throw failed('VFIO_DEVICE', `turning interrupts of ${device.address} off`, cause);
    } finally {
      closeAll(device.kernel, on.unmask < 0 ? on.fds : [...on.fds, on.unmask]);
    }
  }
}

/** What the kernel says of a device beside its own interrupts: it is wanted back, it reported an error. */
export class VfioWatch {
  private readonly device: VfioDevice;
  private readonly watches: readonly { readonly epoll: number; readonly fd: number; readonly told: () => void }[];
  private readonly pulse: Pulse;
  private open = true;

  /** `look` is called as often as it is looked, for whatever else is to be looked at. Throws `VFIO_DEVICE`. */
  constructor(device: VfioDevice, news: FunctionNews, look: () => void) {
    this.device = device;
    const told = {
      request: () => news.lost('the kernel wants it back: it is being removed, or bound to another driver'),
      error: () => news.failed('it reported an error that it could not correct (PCI Express AER)'),
    };
    const made: { epoll: number; fd: number; told: () => void }[] = [];
    this.watches = made;
    try {
      for (const kind of ['request', 'error'] as const) {
        if (device.count(PCI_IRQ[kind]) === 0) continue;
        const watch = { epoll: device.kernel.epollCreate(), fd: -1, told: told[kind] };
        made.push(watch);
        watch.fd = device.kernel.eventfd();
        device.kernel.epollAdd(watch.epoll, watch.fd);
        setIrqs(device, PCI_IRQ[kind], [watch.fd]);
      }
    } catch (cause) {
      this.closeFds();
      throw failed('VFIO_DEVICE', `what the kernel says of ${device.address}`, cause);
    }
    this.pulse = everyMs(LOOK_MS, () => {
      // An eventfd in an edge-triggered set says each signal once, and need not be read.
      for (const { epoll, told: tell } of made) if (this.open && device.kernel.epollWait(epoll, 0) > 0) tell();
      if (this.open) look();
    });
  }

  /** Idempotent. The device's file goes after it: with that the kernel forgets the eventfds. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    this.pulse.stop();
    this.closeFds();
  }

  private closeFds(): void {
    const fds = this.watches.flatMap(({ epoll, fd }) => (fd < 0 ? [epoll] : [fd, epoll]));
    closeAll(this.device.kernel, fds);
  }
}
