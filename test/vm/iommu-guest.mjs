// Runs in a guest: opens PCI functions through devio-iommu by hand, without a driver, and prints what it sees as JSON.
import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Arena } from '../../dist/lib/arena/arena.js';
import { FramePool } from '../../dist/lib/arena/frame-pool.js';
import { iommuDevios } from '../../dist/lib/devios/iommu.js';
import { capabilities } from '../../dist/lib/pci/config-space.js';
import {
  deviceAt,
  E1000E,
  LSC,
  native,
  OTHER,
  open,
  recalled,
  seen,
  until,
  view,
  watching,
} from './function-guest.mjs';

const arena = new Arena(native);
const frames = new FramePool(arena, { frames: 1024 });
const [provider] = iommuDevios(arena, frames, view, { name: 'pci', version: 1 });

async function e1000e(address) {
  const { devio, events } = await open(provider, address);
  try {
    const result = seen(devio);
    await devio.reset();
    const { registers, bytes } = devio.bar(0);
    result.bar0 = bytes;
    result.linkUp = (registers.get32(E1000E.status) & 2) !== 0;
    result.rings = devio.addressOf(devio.allocateShared(4096, 4096)) > 0n;
    devio.setBusMaster(true); // MSI and MSI-X are writes to memory
    // An interrupt that is asked for: cause "other" on the first vector.
    for (const kind of ['msix', 'msi', 'intx']) {
      const on = devio.enableInterrupts(kind, kind === 'msix' ? devio.vectors.msix : 1);
      const watch = watching(on.fds.slice(0, 1));
      registers.put32(E1000E.ivar, 8 << 16);
      registers.put32(E1000E.ims, OTHER | LSC);
      registers.put32(E1000E.ics, OTHER | LSC);
      result[kind] = await watch.signalled();
      registers.get32(E1000E.icr);
      if (kind === 'intx') {
        // Masked since: the next is seen only once it is unmasked.
        native.notify(on.unmask);
        await sleep(100);
        registers.put32(E1000E.ics, OTHER | LSC);
        result.intxAgain = await watch.signalled();
      }
      registers.put32(E1000E.imc, 0xffff_ffff);
      registers.get32(E1000E.icr);
      await sleep(20);
      devio.disableInterrupts();
      watch.close();
    }
    // A ring where nothing is mapped.
    registers.put32(E1000E.tdbal, 0x7000_0000);
    registers.put32(E1000E.tdbah, 0);
    registers.put32(E1000E.tdlen, 4096);
    registers.put32(E1000E.tdh, 0);
    registers.put32(E1000E.tctl, 2);
    registers.put32(E1000E.tdt, 1);
    await until(() => events.length > 0);
    result.events = events;
    devio.setBusMaster(false);
    return result;
  } finally {
    devio.close();
  }
}

async function virtio(address) {
  const { devio, events } = await open(provider, address);
  try {
    const result = seen(devio);
    await devio.reset().catch((error) => {
      result.reset = error.code;
    });
    const common = capabilities(devio.config).find(
      ({ id, offset }) => id === 9 && devio.config.read(offset + 3, 8) === 1,
    );
    const { registers } = devio.bar(devio.config.read(common.offset + 4, 8));
    const at = devio.config.read(common.offset + 8, 32);
    // device_status of virtio 1.2 §4.1.4.3: acknowledged, and reset.
    registers.put8(at + 20, 1);
    result.acknowledged = registers.get8(at + 20);
    registers.put8(at + 20, 0);
    result.afterReset = registers.get8(at + 20);
    result.queues = registers.get16(at + 18);
    const on = devio.enableInterrupts('msix', devio.vectors.msix);
    registers.put16(at + 16, 0); // config_msix_vector
    result.vector = registers.get16(at + 16);
    result.fds = on.fds.length;
    result.events = events;
    return result;
  } finally {
    devio.close();
  }
}

/** Held until the kernel wants it back; another program has it removed meanwhile. */
async function hold(address) {
  const { devio, events } = await open(provider, address);
  const { registers } = devio.bar(0);
  writeFileSync('/tmp/held', '');
  const asked = await until(() => events.length > 0, 30_000);
  const began = Date.now();
  devio.close();
  const gone = await until(() => !existsSync(`/sys/bus/pci/devices/${address}`));
  // Whoever still has the registers reads what the arena has there now.
  return { asked, events, recalled, gone, afterMs: Date.now() - began, stale: registers.get32(E1000E.status) };
}

/** Both at once: one container, whose frames are mapped once. */
async function both(addresses) {
  const opened = [];
  for (const address of addresses) opened.push(await open(provider, address));
  // As another engine would: a group has one owner.
  const [other] = iommuDevios(arena, frames, view, { name: 'pci', version: 1 });
  let again = 'opened';
  try {
    other.open(deviceAt(addresses[0])).close();
  } catch (error) {
    again = `${error.code} ${error.message}`;
  }
  for (const { devio } of opened) devio.close();
  return { again };
}

const kinds = { e1000e, virtio, hold };
const results = {};
try {
  for (const argument of process.argv.slice(2)) {
    const [kind, address] = argument.split('=');
    results[kind] = await kinds[kind](address);
  }
  const addresses = process.argv.slice(2).map((argument) => argument.split('=')[1]);
  if (addresses.length > 1) results.both = await both(addresses);
} catch (error) {
  results.error = `${error.stack}`;
}
frames.close();
results.leftOver = arena.used;
arena.close();
console.log(JSON.stringify(results));
