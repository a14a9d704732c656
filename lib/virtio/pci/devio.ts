/** A PCI function as an open way to a virtio device: the transport over it, and its memory. Control half. */
import type { PciDevio } from '../../pci/devio.ts';
import type { VirtioDevio } from '../transport.ts';
import { type ConfigField, type PciLimits, PciTransport } from './transport.ts';

/** Wraps `devio`, which stays its owner's. `fields`: of the device configuration. Throws what `findStructures` throws. */
export function virtioOverPci(devio: PciDevio, fields: readonly ConfigField[], limits?: PciLimits): VirtioDevio {
  return {
    api: devio.api,
    backend: devio.backend,
    transport: new PciTransport(devio, fields, limits),
    memory: devio.memory,
    frames: devio.frames,
    frameAddresses: devio.frameAddresses,
    wishes: devio.wishes,
    allocate: (bytes) => devio.allocate(bytes),
    free: (offset) => devio.free(offset),
    allocateShared: (bytes, align) => devio.allocateShared(bytes, align),
    freeShared: (offset) => devio.freeShared(offset),
    addressOf: (offset) => devio.addressOf(offset),
    close: () => devio.close(),
  };
}
