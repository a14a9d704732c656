// Runs in a guest: opens PCI functions through a back end of devio-nommu by hand, without a driver; prints what it sees as JSON.
// nommu-guest.mjs BACKEND COMMAND ADDRESS…
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Arena } from '../../dist/lib/arena/arena.js';
import { FramePool } from '../../dist/lib/arena/frame-pool.js';
import { nommuDevios } from '../../dist/lib/devios/nommu.js';
import { deviceAt, E1000E, LSC, native, OTHER, open, seen, until, view, watching } from './function-guest.mjs';

const [backend, command, ...addresses] = process.argv.slice(2);
const FRAMES = 1024;
const PATTERN = 0x5a;
const HUGE_PAGE = 2 ** 21;

const arena = new Arena(native);
const framesOf = (hugepages) => new FramePool(arena, { frames: FRAMES, hugepages });
const api = { name: 'pci', version: 1 };
const providerFor = (frames, who = view) =>
  nommuDevios(arena, frames, who, api).find((provider) => provider.backend === backend);

/** The address by which a device knows frame `i`: low and high word. */
function frameAddress(devio, i) {
  const table = new Uint32Array(arena.memory, devio.frameAddresses, FRAMES * 2);
  return [table[i * 2], table[i * 2 + 1]];
}

/** Puts the 82574L's receive or transmit ring at `ring`. */
function setRing(devio, registers, which, ring, descriptors) {
  const address = devio.addressOf(ring);
  registers.put32(E1000E[`${which}bal`], Number(address & 0xffff_ffffn));
  registers.put32(E1000E[`${which}bah`], Number(address >> 32n));
  registers.put32(E1000E[`${which}len`], descriptors * 16);
  registers.put32(E1000E[`${which}h`], 0);
  registers.put32(E1000E[`${which}t`], 0);
}

/** Enabled, unicast and multicast promiscuous, broadcast accepted; or for the card's own address only. */
const EVERYTHING = (1 << 1) | (1 << 3) | (1 << 4) | (1 << 15);
const ITS_OWN = 1 << 1;

/** Receives into frames from `first` on; bus master is on then. */
async function receive(devio, descriptors, first, what = EVERYTHING) {
  const { registers } = devio.bar(0);
  // Legacy descriptors, whatever the kernel's driver has used: QEMU's card has no function-level reset, coming out of D3
  // resets nothing, and before QEMU 8 its own reset (CTRL.RST) doesn't either.
  registers.put32(E1000E.rfctl, 0);
  // What QEMU holds back for a card without a link it delivers at the next write of the tail, and at nothing else.
  if (!(await until(() => (registers.get32(E1000E.status) & 2) !== 0, 20_000))) throw new Error('the link is down');
  const ring = devio.allocateShared(descriptors * 16, 4096);
  const words = new Uint32Array(arena.memory, ring, descriptors * 4);
  for (let i = 0; i < descriptors; i++) words.set([...frameAddress(devio, first + i), 0, 0], i * 4);
  setRing(devio, registers, 'rd', ring, descriptors);
  devio.setBusMaster(true);
  registers.put32(E1000E.rctl, what);
  registers.put32(E1000E.rdt, descriptors - 1);
  return { registers, words };
}

async function look(frames, address) {
  const { devio, events } = await open(providerFor(frames), address);
  const result = { ...seen(devio), backend: devio.backend, api: devio.api.name, events };
  await devio.reset();
  // Frames in one huge page follow each other in physical memory.
  const [[low], [next]] = [frameAddress(devio, 0), frameAddress(devio, 1)];
  result.apart = next - low;
  const ring = devio.allocateShared(65_536, 4096);
  result.ring = [devio.addressOf(ring) % 4096n, devio.addressOf(ring + 65_535) - devio.addressOf(ring)].map(Number);
  devio.close();
  return result;
}

/** Interrupts of every kind that there are, each more than once. */
async function interrupts(frames, address) {
  const { devio } = await open(providerFor(frames), address);
  const result = {};
  await devio.reset();
  const { registers } = devio.bar(0);
  devio.setBusMaster(true);
  for (const kind of ['msix', 'msi', 'intx']) {
    if (devio.vectors[kind] === 0) continue;
    const on = devio.enableInterrupts(kind, kind === 'msix' ? devio.vectors.msix : 1);
    const watch = watching(on.fds.slice(0, 1));
    await sleep(20);
    native.epollWait(watch.set, 0);
    registers.put32(E1000E.ivar, 8 << 16);
    registers.put32(E1000E.ims, OTHER | LSC);
    result[kind] = [];
    for (let i = 0; i < 3; i++) {
      registers.put32(E1000E.ics, OTHER | LSC);
      result[kind].push(await watch.signalled());
      registers.put32(E1000E.icr, 0xffff_ffff); // with MSI-X reading clears nothing
      registers.put32(E1000E.ims, OTHER | LSC);
      if (on.unmask < 0) continue;
      // Masked until it is unmasked: the next does not come before that.
      registers.put32(E1000E.ics, OTHER | LSC);
      await sleep(50);
      result.masked = native.epollWait(watch.set, 0) === 0;
      registers.get32(E1000E.icr);
      native.notify(on.unmask);
      await sleep(20);
      native.epollWait(watch.set, 0);
    }
    registers.put32(E1000E.imc, 0xffff_ffff);
    registers.get32(E1000E.icr);
    await sleep(20);
    devio.disableInterrupts();
    watch.close();
  }
  devio.close();
  return result;
}

/** A packet from one card's frame to the other's. */
async function dma(frames, from, to) {
  const sender = await open(providerFor(frames), from);
  const receiver = await open(providerFor(frames), to);
  for (const { devio } of [sender, receiver]) await devio.reset();
  const base = frames.plan.base;
  const at = (i) => arena.u8.subarray(base + i * frames.plan.frameSize, base + (i + 1) * frames.plan.frameSize);
  const { registers: other, words } = await receive(receiver.devio, 8, 16, ITS_OWN);
  // The receiver's address: RAL0 and RAH0.
  new Uint32Array(arena.memory, base, 2).set([other.get32(0x5400), other.get32(0x5404)]);
  for (let i = 6; i < 1000; i++) at(0)[i] = (i * 7) & 0xff;
  const { devio } = sender;
  const { registers } = devio.bar(0);
  const ring = devio.allocateShared(8 * 16, 4096);
  const descriptor = new Uint32Array(arena.memory, ring, 4);
  // Legacy descriptor: end of packet, insert FCS, report status.
  descriptor.set([...frameAddress(devio, 0), 1000 | (0x0b << 24), 0]);
  setRing(devio, registers, 'td', ring, 8);
  devio.setBusMaster(true);
  registers.put32(E1000E.tctl, 2 | 8);
  registers.put32(E1000E.tdt, 1);
  const sent = await until(() => (descriptor[3] & 1) !== 0);
  const received = await until(
    () =>
      (words[3] & 1) !== 0 &&
      at(0)
        .subarray(0, 1000)
        .every((byte, i) => byte === at(16)[i]),
  );
  for (const one of [sender, receiver]) one.devio.close();
  return { sent, received };
}

const untouched = Buffer.alloc(HUGE_PAGE, PATTERN);

/** Whether memory in huge pages is as it was filled. */
function isIntact(offset, length) {
  for (let at = offset; at < offset + length; at += HUGE_PAGE) {
    if (!untouched.equals(arena.u8.subarray(at, at + HUGE_PAGE))) return false;
  }
  return true;
}

/** What a closed device must not do: frames stay as they are, although packets come for them. */
async function closed(frames, address) {
  const { devio } = await open(providerFor(frames), address);
  await devio.reset();
  const { registers, words } = await receive(devio, 512, 0);
  const flooded = await until(() => {
    registers.put32(E1000E.rdt, 511); // has QEMU deliver what it holds back for a card that did not listen
    return (words[3 * 4 + 3] & 1) !== 0;
  }, 20_000);
  const command = devio.config.read(4, 16) & 7;
  devio.close();
  const { offset, length } = frames.segment;
  arena.u8.fill(PATTERN, offset, offset + length);
  await sleep(1000);
  const intact = isIntact(offset, length);
  return { flooded, command, intact };
}

/** Receives for ever: to be killed. */
async function flooded(frames, address) {
  const { devio } = await open(providerFor(frames), address);
  await devio.reset();
  const { registers, words } = await receive(devio, 512, 0);
  if (!(await until(() => (words[3 * 4 + 3] & 1) !== 0, 20_000))) throw new Error('no packets come');
  writeFileSync('/tmp/flooded', String(process.pid));
  for (let next = 0; ; await sleep(1)) {
    for (; (words[next * 4 + 3] & 1) !== 0; next = (next + 1) % 512) {
      words[next * 4 + 3] = 0;
      registers.put32(E1000E.rdt, next);
    }
  }
}

/** Takes as many huge pages as there are once somebody else has given them up; they are not to change. */
async function canary(pages) {
  writeFileSync('/tmp/canary', String(process.pid));
  let segment;
  for (;;) {
    try {
      segment = arena.mapMemory(pages * HUGE_PAGE, { huge: 'need' });
      break;
    } catch (error) {
      if (error.code !== 'NO_HUGEPAGES') throw error;
    }
  }
  const { offset, length } = segment;
  arena.u8.fill(PATTERN, offset, offset + length);
  let looks = 0;
  let intact = true;
  for (const end = Date.now() + 1500; Date.now() < end; looks++) intact &&= isIntact(offset, length);
  return { intact, looks };
}

/** What is refused, in words. */
async function refusals(address) {
  const device = deviceAt(address);
  const ordinary = framesOf('no');
  const careful = { ...view, wanted: () => ({}) };
  const result = {
    risk: await providerFor(ordinary, careful).usable(device),
    ordinary: await providerFor(ordinary).usable(device),
  };
  ordinary.close();
  const frames = framesOf('need');
  const first = await open(providerFor(frames), address);
  try {
    await open(providerFor(frames), address);
  } catch (error) {
    result.second = error.message;
  }
  first.devio.close();
  frames.close();
  return result;
}

async function withFrames(action) {
  const frames = framesOf('need');
  const result = await action(frames);
  frames.close();
  return { ...result, leftOver: arena.used };
}

const commands = {
  look: () => withFrames((frames) => look(frames, ...addresses)),
  interrupts: () => withFrames((frames) => interrupts(frames, ...addresses)),
  dma: () => withFrames((frames) => dma(frames, ...addresses)),
  closed: () => withFrames((frames) => closed(frames, ...addresses)),
  flooded: () => withFrames((frames) => flooded(frames, ...addresses)),
  canary: () => canary(Number(addresses[0])),
  refusals: () => refusals(...addresses),
};
try {
  console.log(JSON.stringify(await commands[command]()));
} catch (error) {
  console.log(JSON.stringify({ error: error.stack }));
}
arena.close();
process.exit();
