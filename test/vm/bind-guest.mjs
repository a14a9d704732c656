// Runs in a guest: binds functions to drivers for user space and gives them back, again and again, in one process. Between
// them, an engine opens a port now and then. Prints as JSON what was not as before, and what is left behind. One argument, JSON.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEngine } from '../../dist/lib/index.js';
import { Binder } from '../../dist/lib/pci/binding.js';
import { readFunction } from '../../dist/lib/pci/device.js';
import { binderKernel } from '../../dist/lib/pci/kernel.js';
import { loadNative } from '../../dist/native/index.js';

const { addresses, drivers, rounds, opened = 10 } = JSON.parse(process.argv[2]);
const binder = new Binder(binderKernel(loadNative()));
const differences = [];

/** What is to be as before: the driver, and the interface with its address and its link. */
function seen(address) {
  const { driver, driverOverride, netifs } = readFunction('/sys', address);
  const carrier = (name) => {
    try {
      return readFileSync(`/sys/class/net/${name}/carrier`, 'utf8').trim();
    } catch {
      return 'down'; // of an interface that is down it cannot be read
    }
  };
  return JSON.stringify({
    driver,
    driverOverride,
    netifs: netifs.map((netif) => ({ ...netif, carrier: carrier(netif.name) })),
  });
}

/** What must not grow. */
function held() {
  const modules = readFileSync('/proc/modules', 'utf8')
    .split('\n')
    .filter((line) => /^(vfio|uio|e1000e|virtio_net)/.test(line));
  return {
    fds: readdirSync('/proc/self/fd').length,
    mappings: readFileSync('/proc/self/maps', 'utf8')
      .split('\n')
      .filter((line) => /\/dev\/vfio|\/dev\/uio|resource|anon_inode/.test(line)),
    // Name, size, users.
    modules: modules.map((line) => line.split(' ').slice(0, 3).join(' ')),
    groups: readdirSync('/dev')
      .filter((name) => name.startsWith('uio'))
      .concat(existsSync('/dev/vfio') ? readdirSync('/dev/vfio') : []),
    records: binder.recorded(),
  };
}

async function open(address) {
  const engine = await openEngine({ frames: 1024 });
  try {
    await engine.open(`pci:${address},unsafe-dma=1`);
  } finally {
    await engine.close();
  }
}

async function round(address, driver, opening) {
  const before = seen(address);
  const bound = await binder.bind(address, driver, { force: true });
  if (bound.driver !== readFunction('/sys', address).driver) differences.push(`${address} has not ${driver}`);
  if (opening && driver === 'vfio-pci') await open(address);
  await binder.unbind(address);
  // A link takes its time to come back.
  for (const end = Date.now() + 10_000; seen(address) !== before && Date.now() < end; ) await sleep(20);
  if (seen(address) !== before) differences.push(`${address} after ${driver}: ${before} is ${seen(address)}`);
}

const result = { rounds: 0, differences };
try {
  // After one round with each driver, modules are loaded and what Node.js keeps is there.
  for (const driver of drivers) for (const address of addresses) await round(address, driver, true);
  result.before = held();
  for (; result.rounds < rounds; result.rounds++) {
    const driver = drivers[result.rounds % drivers.length];
    for (const address of addresses) await round(address, driver, result.rounds % opened === 0);
  }
  result.after = held();
} catch (error) {
  result.error = `${error.stack}`;
}
console.log(JSON.stringify(result));
