/** The ways to a virtio network device: a vhost-user socket, or a PCI function behind an IOMMU or without one. Control half. */
import { asVirtioDevio, VHOST_USER_API } from '../../devios/vhost-user.ts';
import type { Devio } from '../../framework/types.ts';
import { asPciDevio } from '../../pci/devio.ts';
import { NET_CONFIG_FIELDS } from '../../virtio/net.ts';
import { virtioOverPci } from '../../virtio/pci/devio.ts';
import type { VirtioDevio } from '../../virtio/transport.ts';

/**
 * Returns `devio` as a virtio device. Throws `WRONG_DEVIO` when it is none of these, and of a PCI function what
 * `findStructures` throws.
 */
export function virtioDevioOf(devio: Devio): VirtioDevio {
  return devio.api.name === VHOST_USER_API.name
    ? asVirtioDevio(devio)
    : virtioOverPci(asPciDevio(devio), NET_CONFIG_FIELDS);
}
