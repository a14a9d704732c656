/** Turning a function's interrupts on: the best kind that it has. Control half. */
import { readSync } from 'node:fs';
import type { Interrupts, PciDevio } from '../../pci/devio.ts';

/** Vectors for `rxQueues` queues and one for the rest, or one for everything; undefined when there are none at all. */
export function enableInterrupts(devio: PciDevio, rxQueues: number): Interrupts | undefined {
  if (devio.vectors.msix > rxQueues) return devio.enableInterrupts('msix', rxQueues + 1);
  for (const kind of ['msi', 'intx'] as const) if (devio.vectors[kind] > 0) return devio.enableInterrupts(kind, 1);
  return undefined;
}

const eight = new Uint8Array(8);

/** Whether eventfd `fd`, which does not block, has been signalled since it was asked last. */
export function wasSignalled(fd: number): boolean {
  try {
    return readSync(fd, eight) === 8;
  } catch {
    return false; // EAGAIN: it has not
  }
}
