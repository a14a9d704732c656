/** One ring from the main thread's side: what the session says of it reaches the worker, and what the worker did comes back. */
import { describe, expect, it } from 'vitest';
import { BLOCK } from '../../../lib/drivers/vhost/block.ts';
import { RingControl } from '../../../lib/drivers/vhost/ring-control.ts';
import type { RingSetup } from '../../../lib/vhost-user/types.ts';
import { FakeVhostDevio, setupOf } from '../../fakes/back-end-process.ts';
import { GuestMemory } from '../../fakes/guest-memory.ts';
import { PackedDriver, SplitDriver } from '../../fakes/virtio-driver.ts';

const EPOLL = 40;

function world(packed = false, changes: Partial<RingSetup> = {}) {
  const guest = new GuestMemory([{ gpa: 0x10_0000, bytes: 1 << 20, window: 0, offset: 0x1_0000 }], 2 << 20);
  const driver = packed ? new PackedDriver(guest, { size: 8 }) : new SplitDriver(guest, { size: 8 });
  const memory = new SharedArrayBuffer(1 << 20);
  const devio = new FakeVhostDevio(memory, guest.windows);
  let woken = 0;
  const control = new RingControl(devio.asDevio, 1, EPOLL, () => woken++);
  const setup = setupOf(guest, driver, packed, { kick: 70, ...changes });
  const words = (block: number) => new Int32Array(memory, block, BLOCK.words);
  return { guest, driver, devio, control, setup, words, woken: () => woken };
}

/** A worker that steps back at once. */
function obey(words: Int32Array): NodeJS.Timeout {
  return setInterval(() => Atomics.store(words, BLOCK.seen, Atomics.load(words, BLOCK.wanted)), 1);
}

describe('A ring that the session starts', () => {
  it('waits for the queue, whichever comes first, and its gate opens when both are there', () => {
    for (const first of ['setup', 'queue']) {
      const { control, setup, words } = world();
      if (first === 'setup') control.start(setup);
      const block = control.attach();
      if (first === 'queue') control.start(setup);
      expect(words(block)[BLOCK.wanted] & 1).toBe(1);
      expect([words(block)[BLOCK.size], words(block)[BLOCK.call], words(block)[BLOCK.err]]).toEqual([8, 71, 72]);
      expect(control.up).toBe(true);
    }
  });

  it('has its kick eventfd in the epoll set of its queue while it runs', async () => {
    const { control, setup, devio } = world();
    control.start(setup);
    expect([...devio.polled]).toEqual([`${EPOLL}:70`]);
    await control.stop();
    expect([...devio.polled]).toEqual([]);
  });

  it('without a kick eventfd is in no epoll set', () => {
    const { control, setup, devio } = world();
    control.start({ ...setup, kick: -1 });
    expect(devio.polled.size).toBe(0);
  });

  it('is refused with more regions than a block has room for', () => {
    const { control, setup } = world();
    const regions = Array.from({ length: 1025 }, (_, i) => ({ gpa: i * 0x2000, bytes: 0x1000, window: 0, offset: 0 }));
    expect(() => control.start({ ...setup, regions })).toThrow('memory is in 1025 regions');
  });

  // 12: two were taken and not used. 0: what DPDK's virtio-user says to whoever comes after a dead back end. 30: nonsense.
  it.each([
    [12, 10],
    [0, 1000],
    [30, 10],
    [2, 65_534],
  ])('split: with a base of %d it goes on at its used index, %d', (avail, used) => {
    const { control, setup, words, guest } = world(false);
    const { device } = setup;
    new Uint16Array(guest.windows[device.window], device.offset, 2)[1] = used;
    control.start({ ...setup, base: { avail, availWrap: true, used: 0, usedWrap: true } });
    const block = words(control.attach());
    expect([block[BLOCK.avail], block[BLOCK.used], block[BLOCK.broken]]).toEqual([used, used, 0]);
  });
});

describe('A ring that the session stops', () => {
  it('says where it stood, as the worker left it', async () => {
    const { control, setup, words } = world(true);
    control.start(setup);
    const block = words(control.attach());
    block[BLOCK.avail] = 3;
    block[BLOCK.availWrap] = 0;
    block[BLOCK.used] = 2;
    block[BLOCK.usedWrap] = 1;
    expect(await control.stop()).toEqual({ avail: 3, availWrap: false, used: 2, usedWrap: true });
    expect(control.up).toBe(false);
  });

  it('was never started: it stands at the start', async () => {
    const start = { avail: 0, availWrap: true, used: 0, usedWrap: true };
    expect(await world().control.stop()).toEqual(start);
  });

  it('waits for the worker to step back, and wakes it', async () => {
    const { control, setup, words, woken } = world();
    control.start(setup);
    const block = words(control.attach());
    Atomics.store(block, BLOCK.seen, Atomics.load(block, BLOCK.wanted));
    const before = woken();
    let stopped = false;
    const stop = control.stop().then(() => {
      stopped = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect([stopped, woken() > before, block[BLOCK.wanted] & 1]).toEqual([false, true, 0]);
    const worker = obey(block);
    await stop;
    clearInterval(worker);
  });

  it('does not wait for a worker that has ended: the next one asks for its place anew', async () => {
    const { control, setup, words } = world();
    control.start(setup);
    const block = words(control.attach());
    Atomics.store(block, BLOCK.seen, Atomics.load(block, BLOCK.wanted));
    control.forget();
    await control.stop();
    expect(block[BLOCK.seen]).toBe(-1);
  });
});

describe('A ring that is enabled and disabled', () => {
  it('goes on where it stood, with the switch in its flags', async () => {
    const { control, setup, words } = world(true, { enabled: false });
    control.start(setup);
    const block = words(control.attach());
    expect([control.up, block[BLOCK.flags] & 32]).toEqual([false, 0]);
    block[BLOCK.avail] = block[BLOCK.used] = 5;
    await control.enable(true);
    expect([control.up, block[BLOCK.flags] & 32, block[BLOCK.avail]]).toEqual([true, 32, 5]);
    const wanted = block[BLOCK.wanted];
    await control.enable(true);
    expect(block[BLOCK.wanted]).toBe(wanted);
  });

  it('that broke stays broken until it is set up anew', async () => {
    const { control, setup, words } = world();
    control.start(setup);
    const block = words(control.attach());
    block[BLOCK.broken] = 2;
    expect(control.failure()).toBe('it names a descriptor beyond its size');
    expect([control.failure(), control.up]).toEqual([undefined, false]);
    await control.enable(false);
    await control.enable(true);
    expect(block[BLOCK.wanted] & 1).toBe(0);
    await control.stop();
    control.start(setup);
    expect([control.up, block[BLOCK.broken], block[BLOCK.wanted] & 1]).toEqual([true, 0, 1]);
  });
});

describe('A port that is stopped and started', () => {
  it('keeps the place of the ring, and gives all memory back', () => {
    const { control, setup, words, devio } = world(true);
    control.start(setup);
    const block = words(control.attach());
    block[BLOCK.avail] = block[BLOCK.used] = 6;
    control.detach();
    expect([devio.allocated.size, control.attached]).toEqual([0, false]);
    const again = words(control.attach());
    expect([again[BLOCK.avail], again[BLOCK.used], again[BLOCK.wanted] & 1]).toEqual([6, 6, 1]);
    control.detach();
    control.detach();
  });

  it('a reverse ARP is asked of the worker, and of nobody when there is none', () => {
    const { control, words } = world();
    const mac = Uint8Array.of(2, 1, 2, 3, 4, 5);
    control.rarp(mac);
    const block = words(control.attach());
    expect(block[BLOCK.rarp]).toBe(0);
    control.rarp(mac);
    expect([...block.slice(BLOCK.rarpMac, BLOCK.rarpMac + 2), block[BLOCK.rarp]]).toEqual([0x0302_0102, 0x0504, 1]);
  });
});
