/** Turning a function's interrupts on: the best kind that it has. Control half. */
import type { Interrupts, PciDevio } from '../../pci/devio.ts';

/** Vectors for `rxQueues` queues and one for the rest, or one for everything; undefined when there are none at all. */
export function enableInterrupts(devio: PciDevio, rxQueues: number): Interrupts | undefined {
  if (devio.vectors.msix > rxQueues) return devio.enableInterrupts('msix', rxQueues + 1);
  for (const kind of ['msi', 'intx'] as const) if (devio.vectors[kind] > 0) return devio.enableInterrupts(kind, 1);
  return undefined;
}
