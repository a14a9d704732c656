import { describe, expect, it } from 'vitest';
import {
  codeOf,
  deferred,
  eventLines,
  FakeClass,
  FakeDevioProvider,
  FakeDriver,
  FakeEnumerator,
  FakePortEnumerator,
  makeWorld,
  rejection,
  sleep,
} from '../fakes/framework.ts';

/** Notes when callbacks begin and end, and that none begins inside another. */
function watch(journal: string[], name: string): () => Promise<void> {
  return async () => {
    journal.push(`${name} begins`);
    await null;
    await null;
    journal.push(`${name} ends`);
  };
}

describe('defect 56: what a callback asks for is done after it', () => {
  it('a driver that adds a device inside probe: it is probed after this probe', async () => {
    const { framework, bus, driver, at } = makeWorld();
    const seen: string[] = [];
    driver.onProbe = async (device) => {
      if (device.address === 'a') bus.plug('child');
      await watch(seen, device.address)();
    };
    await framework.start();
    expect(seen).toEqual(['a begins', 'a ends', 'child begins', 'child ends']);
    expect([at('a').state, at('child').state]).toEqual(['bound', 'bound']);
  });

  it('a driver that registers a driver and a devio inside probe: both are used for what is free after it', async () => {
    const { framework, driver, at } = makeWorld();
    const helper = new FakeDriver({ name: 'helper', devios: [{ name: 'late-io', version: 1 }] });
    driver.onProbe = () => {
      framework.registerDriver(helper);
      framework.registerDevio(new FakeDevioProvider({ api: { name: 'late-io', version: 1 }, backend: 'late' }));
      expect(helper.probes).toEqual([]);
      throw new Error('let the helper do it');
    };
    await framework.start();
    expect([at('a').driver, at('a').devio?.backend]).toEqual(['helper', 'late']);
  });

  it('a driver that removes its own device inside probe: the probe ends, then the device goes', async () => {
    const { framework, bus, io, driver, events } = makeWorld();
    driver.onProbe = async (device) => {
      void bus.unplug('a');
      await null;
      expect(device.state).toBe('probing');
    };
    await framework.start();
    expect(framework.devices()).toEqual([]);
    expect([io.opened[0]?.closes, driver.pktios[0]?.closes]).toEqual([1, 1]);
    expect(eventLines(events)).toEqual([
      ...['enumerator-added fake/bus', 'device-added fake/bus/a', 'device-removed fake/bus/a'],
    ]);
  });

  it('a driver that removes another, bound device inside probe', async () => {
    const { framework, bus, driver, at } = makeWorld({ addresses: ['a', 'b'] });
    driver.onProbe = (device) => {
      if (device.address !== 'b') return;
      void bus.unplug('a');
      expect(at('b').state).toBe('probing');
    };
    await framework.start();
    expect(framework.devices().map((d) => `${d.address} ${d.state}`)).toEqual(['b bound']);
    expect(driver.pktios.map((p) => p.closes)).toEqual([1, 0]);
  });

  it('a driver that unregisters itself inside probe: it gets no device any more', async () => {
    const { framework, io, driver, events } = makeWorld({ addresses: ['a', 'b'] });
    driver.onProbe = () => void framework.unregisterDriver('driver');
    await framework.start();
    expect(eventLines(events)).not.toContain('device-bound fake/bus/a');
    expect([driver.probes.length, driver.stops, framework.drivers()]).toEqual([1, 1, []]);
    expect(framework.devices().map((d) => d.state)).toEqual(['unbound', 'unbound']);
    expect([io.opened[0]?.closes, driver.pktios[0]?.closes]).toEqual([1, 1]);
  });

  it('a driver that unregisters itself and declines is not offered its next devio', async () => {
    const { framework, driver } = makeWorld();
    framework.registerDevio(new FakeDevioProvider({ backend: 'second' }));
    driver.onProbe = () => {
      void framework.unregisterDriver('driver');
      throw new Error('no');
    };
    await framework.start();
    expect(driver.probes).toHaveLength(1);
  });

  it('a devio that unregisters itself inside usable and open', async () => {
    for (const callback of ['onUsable', 'onOpen'] as const) {
      const { framework, io, driver, events, at } = makeWorld();
      io[callback] = () => {
        void framework.unregisterDevio(io);
        return true;
      };
      await framework.start();
      expect([
        at('a').state,
        io.stops,
        driver.pktios.length - driver.pktios.filter((p) => p.closes === 1).length,
      ]).toEqual([...['unbound', 1, 0]]);
      expect(io.opened.every((d) => d.closes === 1)).toBe(true);
      expect(eventLines(events)).not.toContain('device-bound fake/bus/a');
    }
  });

  it('a devio that adds and removes devices inside usable and open', async () => {
    const { framework, bus, io } = makeWorld();
    io.onUsable = (device) => {
      if (device.address === 'a') bus.plug('b');
      return true;
    };
    io.onOpen = (device) => (device === framework.device('fake/bus/b') ? void bus.unplug('a') : undefined);
    await framework.start();
    expect(framework.devices().map((d) => `${d.address} ${d.state}`)).toEqual(['b bound']);
  });

  it('an enumerator that adds a device and takes it back inside start', async () => {
    const { framework, bus, driver, events } = makeWorld();
    bus.onStart = () => {
      bus.plug('b');
      void bus.unplug('b');
    };
    await framework.start();
    expect(driver.probes.map((p) => p.device.address)).toEqual(['a']);
    expect(eventLines(events)).not.toContain('device-added fake/bus/b');
  });

  it('a class that registers classes, drivers and devios inside start', async () => {
    const { framework, kind } = makeWorld();
    const inner = new FakeEnumerator({ name: 'inner', addresses: ['x'] });
    kind.onStart = () => {
      framework.registerClass(new FakeClass({ name: 'inner', enumerators: [inner] }));
      framework.registerDriver(new FakeDriver({ name: 'inner', enumeratorClass: 'inner' }));
    };
    await framework.start();
    expect(framework.device('inner/inner/x')?.driver).toBe('inner');
  });

  it('a class that adds and removes an enumerator inside start: it is never started', async () => {
    const { framework, kind } = makeWorld();
    const brief = new FakeEnumerator({ name: 'brief', journal: [] });
    kind.onStart = (host) => {
      host.addEnumerator(brief);
      void host.removeEnumerator('brief');
    };
    await framework.start();
    expect([brief.journal, framework.enumerators().map((e) => e.name)]).toEqual([[], ['bus']]);
  });

  it('a port that adds and removes devices while it is closed', async () => {
    const { framework, bus, driver, at } = makeWorld({ addresses: ['a', 'b'] });
    await framework.start();
    driver.pktios[0]!.onClose = () => {
      bus.plug('c');
      void bus.unplug('b');
    };
    await framework.unbind(at('a'));
    await framework.settled();
    expect(framework.devices().map((d) => `${d.address} ${d.state}`)).toEqual(['a unbound', 'c bound']);
  });

  it('a listener that registers a driver is not in the way of what it listens to', async () => {
    const { framework, driver, at } = makeWorld();
    driver.onProbe = () => Promise.reject(new Error('no'));
    framework.on((event) => {
      if (event.type === 'device-added') framework.registerDriver(new FakeDriver({ name: 'on-demand' }));
    });
    await framework.start();
    expect(at('a').driver).toBe('on-demand');
  });

  it('a listener may wait for what it asks', async () => {
    const { framework, events, at } = makeWorld();
    let done: Promise<void> | undefined;
    framework.on((event) => {
      if (event.type === 'device-bound') done = framework.unbind(event.device);
    });
    await framework.start();
    await done;
    expect([at('a').state, eventLines(events).filter((l) => l.startsWith('error'))]).toEqual(['unbound', []]);
  });

  it('a stop inside probe: nothing is bound any more', async () => {
    const { framework, driver, io } = makeWorld({ addresses: ['a', 'b'] });
    driver.onProbe = () => void framework.stop();
    await framework.start();
    expect([driver.probes.length, framework.devices(), io.opened[0]?.closes, driver.pktios[0]?.closes]).toEqual([
      1,
      [],
      1,
      1,
    ]);
  });
});

describe('defect 56: a callback that waits for what it asked for waits for itself', () => {
  it('removal of its own device inside probe: the probe fails with a code, then the device goes', async () => {
    const { framework, bus, io, driver, events } = makeWorld();
    driver.onProbe = () => bus.unplug('a');
    await framework.start();
    expect(eventLines(events)).toEqual([
      'enumerator-added fake/bus',
      'device-added fake/bus/a',
      'error driver driver WAITS_FOR_ITSELF',
      'device-removed fake/bus/a',
    ]);
    expect([framework.devices(), io.opened[0]?.closes]).toEqual([[], 1]);
    await framework.settled();
    // The probe went on when the device had gone. What it gave then is closed.
    expect(driver.pktios.map((p) => p.closes)).toEqual([1]);
  });

  it.each([
    ['unregisterDriver', (w: ReturnType<typeof makeWorld>) => w.framework.unregisterDriver('driver')],
    ['unregisterDevio', (w: ReturnType<typeof makeWorld>) => w.framework.unregisterDevio(w.io)],
    ['unregisterClass', (w: ReturnType<typeof makeWorld>) => w.framework.unregisterClass('fake')],
    ['unregisterEnumerator', (w: ReturnType<typeof makeWorld>) => w.framework.unregisterEnumerator('fake', 'bus')],
    ['removeEnumerator', (w: ReturnType<typeof makeWorld>) => w.kind.host?.removeEnumerator('bus')],
    ['unbind', (w: ReturnType<typeof makeWorld>) => w.framework.unbind(w.at('a'))],
    ['bind', (w: ReturnType<typeof makeWorld>) => w.framework.bind(w.at('a')).catch(() => {})],
    ['request', (w: ReturnType<typeof makeWorld>) => w.framework.request('toy:x').catch(() => {})],
    ['settled', (w: ReturnType<typeof makeWorld>) => w.framework.settled()],
    ['stop', (w: ReturnType<typeof makeWorld>) => w.framework.stop()],
  ])('%s inside probe', async (_name, ask) => {
    const world = makeWorld();
    world.driver.onProbe = () => (world.driver.probes.length === 1 ? ask(world) : undefined);
    await world.framework.start();
    const errors = eventLines(world.events).filter((line) => line.startsWith('error driver'));
    expect(errors).toEqual(['error driver driver WAITS_FOR_ITSELF']);
    await world.framework.stop();
    // Now the probe goes on, and gives a port that nobody wants any more.
    await sleep(1);
    await world.framework.settled();
    expect(world.io.opened.every((d) => d.closes === 1)).toBe(true);
    expect(world.driver.pktios.every((p) => p.closes === 1)).toBe(true);
  });

  it('removal inside the start of an enumerator: the start fails, and everything is rolled back', async () => {
    const { framework, bus, driver, events } = makeWorld();
    bus.onStart = () => bus.unplug('a');
    await framework.start();
    expect(eventLines(events)).toEqual(['error enumerator fake/bus WAITS_FOR_ITSELF']);
    expect([framework.devices(), framework.enumerators(), driver.probes]).toEqual([[], [], []]);
    await framework.settled();
    expect(bus.stops).toBe(1);
  });

  it('waiting for a removal that somebody else asked for is the same', async () => {
    const { framework, bus, driver, events } = makeWorld();
    const [probing, asked] = [deferred(), deferred()];
    driver.onProbe = async () => {
      probing.resolve();
      await asked.promise;
      await bus.unplug('a');
    };
    const started = framework.start();
    await probing.promise;
    void bus.unplug('a');
    asked.resolve();
    await started;
    expect(eventLines(events)).toContain('error driver driver WAITS_FOR_ITSELF');
  });

  it('an event handler that was set up by start may wait, even while start goes on', async () => {
    const { framework, bus, driver, events } = makeWorld({ callbackDeadlineMs: 1000 });
    let handled: Promise<void> | undefined;
    bus.onStart = async () => {
      handled = bus.unplug('a').then(() => void bus.plug('b'));
      await null;
    };
    await framework.start();
    await handled;
    await framework.settled();
    expect(driver.probes.map((p) => p.device.address)).toEqual(['b']);
    expect(eventLines(events).filter((line) => line.startsWith('error'))).toEqual([]);
  });
});

describe('calls that race', () => {
  it('requests, removals and registrations at once, each gets its answer', async () => {
    const ports = new FakePortEnumerator({ name: 'ports' });
    const { framework, bus, at } = makeWorld();
    framework.registerClass(new FakeClass({ name: 'toys', enumerators: [ports] }));
    framework.registerDriver(new FakeDriver({ name: 'toy', enumeratorClass: 'toys' }));
    const started = framework.start();
    const first = framework.request('toy:1');
    const second = framework.request('toy:1');
    await started;
    expect((await first).state).toBe('bound');
    expect(codeOf(await rejection(second))).toBe('PORT_TAKEN');
    await Promise.all([framework.unbind(at('a')), bus.unplug('a'), framework.unregisterDriver('driver')]);
    expect(framework.devices().map((d) => d.id)).toEqual(['toys/ports/toy:1']);
  });
});
