/** Two wires with two cards each: of virtio-net, and of the 82574L. */
import type { GuestOptions } from './guest.ts';

/** QEMU's names. */
export const MODELS = ['virtio-net-pci', 'virtio-net-pci', 'e1000e', 'e1000e'] as const;

export const addressOf = (n: number): string => `0000:0${n + 1}:00.0`;

/** What `device_add` is told of card `n`, at the end of netdev `n`. */
export const card = (n: number, iommu: boolean) => ({
  ...{
    driver: MODELS[n]!,
    id: `card${n}`,
    netdev: `n${n}`,
    bus: `rp${n}`,
    romfile: '',
    mac: `52:54:00:00:00:0${n + 1}`,
  },
  ...(MODELS[n] === 'e1000e'
    ? {}
    : { 'disable-legacy': 'on', packed: 'on', ...(iommu ? { iommu_platform: 'on' } : {}) }),
});

function slot(n: number, iommu: boolean): string[] {
  const { driver, ...options } = card(n, iommu);
  return [
    ...['-netdev', `hubport,id=n${n},hubid=${n >> 1}`, '-device', `pcie-root-port,id=rp${n},chassis=${n},slot=${n}`],
    ...['-device', [driver, ...Object.entries(options).map((entry) => entry.join('='))].join(',')],
  ];
}

const cards = (iommu: boolean) => MODELS.flatMap((_, n) => slot(n, iommu));

/** Guests with these cards. */
export const WITH_IOMMU: GuestOptions = {
  machine: 'q35,kernel-irqchip=split',
  args: ['-device', 'intel-iommu,intremap=on,caching-mode=on', ...cards(true)],
  append: 'intel_iommu=on iommu=pt',
};
export const WITHOUT: GuestOptions = { memory: 1024, args: cards(false), append: 'intel_iommu=off' };
