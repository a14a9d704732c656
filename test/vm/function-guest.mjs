// For scripts that run in a guest: opens PCI functions by hand, without a driver, through a devio's provider.
import { setTimeout as sleep } from 'node:timers/promises';
import { capabilities } from '../../dist/lib/pci/config-space.js';
import { readFunction } from '../../dist/lib/pci/device.js';
import { loadNative } from '../../dist/native/index.js';

export const native = loadNative();

/** Functions that the kernel, or somebody else, wanted back. */
export const recalled = [];
/** Everybody wants everything, at any risk. */
const wishes = { 'unsafe-dma': true };
export const view = {
  wanted: () => wishes,
  take: () => wishes,
  unwant() {},
  recall: (address) => recalled.push(address),
};

/** A function as the enumerator would show it. */
export function deviceAt(address) {
  const { driver, iommuGroup } = readFunction('/sys', address);
  return { address, facts: { kernelDriver: driver, iommuGroup } };
}

export async function open(provider, address) {
  const device = deviceAt(address);
  const usable = await provider.usable(device);
  if (usable !== true) throw new Error(usable);
  const devio = await provider.open(device);
  const events = [];
  devio.watch({
    lost: (reason) => events.push(`lost: ${reason}`),
    failed: (reason) => events.push(`failed: ${reason}`),
  });
  return { devio, events };
}

/** Waits until `condition` holds; false when it does not for `ms`. */
export async function until(condition, ms = 3000) {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(20)) if (condition()) return true;
  return condition();
}

/** Whether eventfds are signalled, by an edge-triggered set. */
export function watching(fds) {
  const set = native.epollCreate();
  for (const fd of fds) native.epollAdd(set, fd);
  return { set, signalled: () => until(() => native.epollWait(set, 0) > 0), close: () => native.close(set) };
}

/** Registers of the 82574L (Intel 82574 GbE Controller Datasheet 3.4, §10). */
export const E1000E = {
  ...{ status: 0x08, icr: 0xc0, ics: 0xc8, ims: 0xd0, imc: 0xd8, ivar: 0xe4, tctl: 0x400 },
  ...{ tdbal: 0x3800, tdbah: 0x3804, tdlen: 0x3808, tdh: 0x3810, tdt: 0x3818 },
  ...{ rctl: 0x100, rdbal: 0x2800, rdbah: 0x2804, rdlen: 0x2808, rdh: 0x2810, rdt: 0x2818, rfctl: 0x5008 },
};
export const OTHER = 1 << 24;
export const LSC = 1 << 2;

/** What can be seen of a function when it is open. */
export function seen(devio) {
  return {
    vendor: devio.config.read(0, 16),
    device: devio.config.read(2, 16),
    command: devio.config.read(4, 16) & 7,
    configBytes: devio.config.size,
    capabilities: capabilities(devio.config).map(({ id }) => id),
    vectors: devio.vectors,
  };
}
