import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Framework } from '../../lib/framework/framework.ts';
import type { Device, FrameworkEvent } from '../../lib/framework/types.ts';
import {
  BUS,
  codeOf,
  FakeClass,
  FakeDevioProvider,
  FakeDriver,
  FakePortEnumerator,
  IO,
  sleep,
} from '../fakes/framework.ts';

const DEADLINE_MS = 8;
const OTHER_IO = { name: 'other-io', version: 1 };
const ADDRESSES = ['a', 'b', 'c'];

/** What one call of foreign code does: 0 to 99. Most succeed, at once or later; some fail; a few come back too late. */
type Fate = number;

/** A framework with fakes whose every call draws its fate, and what was seen of them. */
class World {
  readonly framework = new Framework({
    unbindDeadlineMs: DEADLINE_MS,
    forceDeadlineMs: DEADLINE_MS,
    callbackDeadlineMs: DEADLINE_MS,
    onQuiesce: (device) => this.#call(`quiesce ${device.state}`, 'quiesce unbinding'),
  });
  readonly drivers: FakeDriver[] = [];
  readonly devios: FakeDevioProvider[] = [];
  readonly events: FrameworkEvent[] = [];
  /** Breaches of what must hold at any moment. */
  readonly breaches: string[] = [];
  /** How often a driver was probed with a devio for a device since that device was added or unbound. */
  readonly probes = new Map<Device, Map<string, number>>();
  readonly promises: Promise<unknown>[] = [];
  readonly bus = new FakePortEnumerator({ name: 'bus' });
  readonly #late: Promise<void>[] = [];
  readonly #fates: readonly Fate[];
  #drawn = 0;
  #inside = 0;

  constructor(fates: readonly Fate[]) {
    this.#fates = fates;
    this.bus.onStart = () => this.#call('', '');
    this.bus.onStop = () => this.#call('', '');
    this.framework.on((event) => this.#hear(event));
  }

  registerClass(): void {
    const kind = new FakeClass({ enumerators: [this.bus] });
    kind.onStart = () => this.#call('', '');
    kind.onStop = () => this.#call('', '');
    this.framework.registerClass(kind);
  }

  registerDriver(n: number): void {
    const devios = [[IO], [OTHER_IO, IO], [IO, OTHER_IO]][n] ?? [IO];
    const driver = new FakeDriver({ name: `driver${n}`, priority: n % 2, devios });
    const tag = this.drivers.length;
    driver.onProbe = (device, devio) => {
      const counts = this.probes.get(device) ?? new Map<string, number>();
      // One registered anew, under the key of one that has gone, is another: for devios as for drivers.
      const through = this.devios.findIndex((provider) => provider.opened.some((opened) => opened === devio));
      const key = `${tag} ${through}`;
      this.probes.set(device, counts.set(key, (counts.get(key) ?? 0) + 1));
      return this.#call(`probe ${device.state}`, 'probe probing');
    };
    driver.onStop = () => this.#call('', '');
    this.framework.registerDriver(driver);
    this.drivers.push(driver);
  }

  registerDevio(n: number): void {
    const devio = new FakeDevioProvider({ api: n === 0 ? OTHER_IO : IO, backend: `backend${n}` });
    devio.onUsable = async (device) => {
      await this.#call(`usable ${device.state}`, 'usable probing');
      return this.#draw() % 5 === 0 ? 'not now' : true;
    };
    devio.onOpen = (device) => this.#call(`open ${device.state}`, 'open probing');
    devio.onClose = () => this.#call('', '');
    devio.onForce = () => this.#call('', '');
    devio.onStop = () => this.#call('', '');
    this.framework.registerDevio(devio);
    this.devios.push(devio);
  }

  /** Keeps a promise, so that it can be seen that it settles. */
  keep(promise: Promise<unknown>): Promise<unknown> {
    const settled = promise.catch((error: unknown) => error);
    this.promises.push(settled);
    return settled;
  }

  /** Waits for everything that still comes. */
  async rest(): Promise<void> {
    await Promise.all(this.promises);
    await Promise.all(this.#late);
    await sleep(1);
    await this.framework.settled();
  }

  #draw(): Fate {
    return this.#fates[this.#drawn++ % this.#fates.length] ?? 0;
  }

  async #call(seen: string, expected: string): Promise<void> {
    if (seen !== expected) this.breaches.push(`${seen}, not ${expected}`);
    const fate = this.#draw();
    if (fate >= 97) {
      const late = sleep(DEADLINE_MS * 4);
      this.#late.push(late);
      return late;
    }
    if (this.#inside > 0) this.breaches.push('a callback ran inside another');
    this.#inside++;
    try {
      if (fate < 20) await null;
      else if (fate < 25) await sleep(1);
      if (fate >= 85) throw new Error('fate');
    } finally {
      this.#inside--;
    }
  }

  #hear(event: FrameworkEvent): void {
    this.events.push(event);
    if (event.type === 'error') {
      const ours = codeOf(event.error) === 'ILLEGAL_TRANSITION' || event.source === 'framework';
      if (ours || event.error instanceof TypeError) this.breaches.push(`${event.source}: ${event.error.message}`);
      return;
    }
    if (!('device' in event)) return;
    const states = { added: 'unbound', bound: 'bound', unbound: 'unbound', failed: 'failed', removed: 'removed' };
    const expected = Object.entries(states).find(([name]) => event.type === `device-${name}`)?.[1];
    if (event.device.state !== expected) this.breaches.push(`${event.type} of a device that is ${event.device.state}`);
    if (event.type === 'device-unbound') this.probes.delete(event.device);
  }
}

type Command = (world: World) => Promise<unknown> | undefined;

/** Runs what may be refused by throwing: that is an answer too. */
const tried = (act: () => void): undefined => {
  try {
    act();
  } catch (error) {
    if (!(error instanceof Error) || codeOf(error) === error.message) throw error;
  }
  return undefined;
};

const device = (world: World, n: number): Device | undefined => world.framework.devices()[n];
const number = fc.nat(2);

const registrations: fc.Arbitrary<Command>[] = [
  number.map((n) => (w: World) => tried(() => w.registerDriver(n))),
  number.map((n) => (w: World) => tried(() => w.registerDevio(n))),
  fc.constant((w: World) => tried(() => w.registerClass())),
  number.map((n) => (w: World) => w.framework.unregisterDriver(`driver${n}`)),
  number.map((n) => (w: World) => {
    const devio = w.devios.at(-1 - n);
    return devio && w.framework.unregisterDevio(devio);
  }),
  fc.constant((w: World) => w.framework.unregisterEnumerator('fake', 'bus')),
  fc.constant((w: World) => w.framework.unregisterClass('fake')),
];
const plugging: fc.Arbitrary<Command>[] = [
  fc.constantFrom(...ADDRESSES).map((address) => (w: World) => tried(() => w.bus.plug(address))),
  fc.constantFrom(...ADDRESSES).map((address) => (w: World) => w.bus.unplug(address)),
];
const running: fc.Arbitrary<Command>[] = [
  fc.constant((w: World) => w.framework.start()),
  fc.constant((w: World) => w.framework.stop()),
  fc.constant((w: World) => w.framework.settled()),
];
const requests: fc.Arbitrary<Command>[] = [
  number.map((n) => (w: World) => {
    const d = device(w, n);
    return d && w.framework.bind(d);
  }),
  number.map((n) => (w: World) => {
    const d = device(w, n);
    return d && w.framework.unbind(d);
  }),
  number.map((n) => (w: World) => w.framework.request(`toy:${n}`)),
  number.map((n) => (w: World) => {
    const d = device(w, n);
    return d && w.framework.release(d);
  }),
];

const weighted = (...kinds: readonly (readonly [number, readonly fc.Arbitrary<Command>[]])[]) =>
  fc.oneof(...kinds.flatMap(([weight, kind]) => kind.map((arbitrary) => ({ weight, arbitrary }))));
const scripts = (command: fc.Arbitrary<Command>) => fc.array(fc.tuple(command, fc.boolean()), { maxLength: 40 });
const fates = fc.array(fc.nat(99), { minLength: 60, maxLength: 60 });

/** Runs a script on a framework that already has one of each; commands are awaited or not, as the script says. */
async function play(script: readonly (readonly [Command, boolean])[], given: readonly Fate[]): Promise<World> {
  const world = new World(given);
  world.registerClass();
  world.registerDevio(1);
  world.registerDriver(0);
  await world.framework.start();
  for (const address of ADDRESSES) tried(() => world.bus.plug(address));
  for (const [command, wait] of script) {
    const result = command(world);
    const kept = result && world.keep(result);
    if (wait) await kept;
  }
  await world.framework.settled();
  return world;
}

/** No device was left without what could have been tried. */
function expectMatched(world: World): void {
  const summaries = world.framework.devices().map((d) => world.framework.explain(d).summary);
  expect(summaries.filter((summary) => summary.includes('has not come to it'))).toEqual([]);
}

async function expectCleanStop(world: World): Promise<void> {
  await world.framework.stop();
  expect(world.framework.devices()).toEqual([]);
  await world.rest();
  expect(world.breaches).toEqual([]);
  expect(world.devios.flatMap((p) => p.opened.map((d) => d.closes)).filter((n) => n !== 1)).toEqual([]);
  expect(world.drivers.flatMap((d) => d.pktios.map((p) => p.closes)).filter((n) => n !== 1)).toEqual([]);
  const seen = new Set(world.events.flatMap((e) => ('device' in e && e.device ? [e.device] : [])));
  expect([...seen].filter((d) => d.state !== 'removed' || d.pktio !== undefined)).toEqual([]);
}

describe('whatever happens, in whatever order', () => {
  const everything = weighted([3, plugging], [2, registrations], [2, requests], [1, running]);

  it('nothing leaks, no callback runs inside another, states are legal, everything ends', {
    timeout: 120_000,
  }, async () => {
    const property = fc.asyncProperty(scripts(everything), fates, async (script, given) => {
      const world = await play(script, given);
      expectMatched(world);
      await expectCleanStop(world);
    });
    await fc.assert(property, { numRuns: 120 });
  });

  it('a driver is probed once per device and devio until the device is unbound, and never left out', {
    timeout: 120_000,
  }, async () => {
    const changes = weighted([3, plugging], [2, registrations], [1, running]);
    const property = fc.asyncProperty(scripts(changes), fates, async (script, given) => {
      const world = await play(script, given);
      const counts = [...world.probes.values()].flatMap((byKey) => [...byKey.values()]);
      expect(counts.filter((n) => n !== 1)).toEqual([]);
      expectMatched(world);
      await expectCleanStop(world);
    });
    await fc.assert(property, { numRuns: 120 });
  });

  it('with code that neither fails nor hangs, every device that can be bound is', { timeout: 120_000 }, async () => {
    const changes = weighted([3, plugging], [1, registrations]);
    const property = fc.asyncProperty(scripts(changes), async (script) => {
      const world = await play(script, [1, 21, 41, 61]);
      const { drivers, devios } = { drivers: world.framework.drivers(), devios: world.framework.devios() };
      const possible = drivers.some((d) =>
        d.devios.some((api) => devios.some((o) => o.api.name === api.name && o.enumeratorApi.name === BUS.name)),
      );
      const states = new Set(world.framework.devices().map((d) => d.state));
      if (states.size > 0) expect([...states]).toEqual([possible ? 'bound' : 'unbound']);
      await expectCleanStop(world);
    });
    await fc.assert(property, { numRuns: 120 });
  });
});
