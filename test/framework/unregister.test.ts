import { describe, expect, it } from 'vitest';
import {
  codeOf,
  eventLines,
  FakeClass,
  FakeDevioProvider,
  FakeDriver,
  FakeEnumerator,
  makeWorld,
  refusal,
  rejection,
} from '../fakes/framework.ts';

describe('defect 57: unregistering a driver', () => {
  it('unbinds its devices, stops it, and matches them with what is left', async () => {
    const { framework, journal, driver, io, at } = makeWorld({ addresses: ['a', 'b'] });
    const next = new FakeDriver({ name: 'next', journal });
    framework.registerDriver(next);
    await framework.start();
    journal.length = 0;
    await framework.unregisterDriver('driver');
    expect(journal).toEqual([
      ...['pktio:close', 'devio:close', 'pktio:close', 'devio:close', 'driver:stop'],
      ...['memory:usable', 'memory:open', 'next:probe', 'memory:usable', 'memory:open', 'next:probe'],
    ]);
    expect([at('a').driver, at('b').driver]).toEqual(['next', 'next']);
    expect([driver.pktios.map((p) => p.closes), io.opened.map((d) => d.closes)]).toEqual([
      [1, 1],
      [1, 1, 0, 0],
    ]);
    expect(framework.drivers().map((d) => d.name)).toEqual(['next']);
  });

  it('asks the others again, though they refused before: the device has been unbound', async () => {
    const { framework, at } = makeWorld();
    const shy = new FakeDriver({ name: 'shy', priority: 1 });
    shy.onProbe = () => (shy.probes.length === 1 ? Promise.reject(new Error('not now')) : undefined);
    framework.registerDriver(shy);
    await framework.start();
    expect(at('a').driver).toBe('driver');
    await framework.unregisterDriver('driver');
    expect(at('a').driver).toBe('shy');
  });

  it('leaves the device unbound when nothing is left', async () => {
    const { framework, at } = makeWorld();
    await framework.start();
    await framework.unregisterDriver('driver');
    expect([at('a').state, framework.explain(at('a')).summary]).toEqual([
      'unbound',
      'fake/bus/a is not bound: no driver is registered',
    ]);
  });

  it('goes on when an unbinding or the stop fails, and reports both', async () => {
    const { framework, io, driver, events, at } = makeWorld({ addresses: ['a', 'b'] });
    await framework.start();
    events.length = 0;
    io.onClose = (devio) => (devio === io.opened[0] ? Promise.reject(new Error('EBUSY')) : undefined);
    driver.onStop = () => Promise.reject(new Error('no'));
    await framework.unregisterDriver('driver');
    expect([at('a').state, at('b').state, framework.drivers()]).toEqual(['failed', 'unbound', []]);
    expect(eventLines(events)).toEqual([
      ...['error devio fake-io v1 (memory) EBUSY', 'device-failed fake/bus/a'],
      ...['device-unbound fake/bus/b', 'error driver driver no'],
    ]);
  });

  it('defect 59: frees its name, but not before it is done', async () => {
    const { framework, at } = makeWorld();
    await framework.start();
    const done = framework.unregisterDriver('driver');
    expect(refusal(() => framework.registerDriver(new FakeDriver()))).toBe('DUPLICATE_DRIVER');
    await done;
    framework.registerDriver(new FakeDriver({ version: '2.0.0' }));
    await framework.settled();
    expect(at('a').driver).toBe('driver');
    expect(framework.drivers().map((d) => d.version)).toEqual(['2.0.0']);
  });

  it('asked for twice, happens once', async () => {
    const { framework, driver } = makeWorld();
    await framework.start();
    await Promise.all([framework.unregisterDriver('driver'), framework.unregisterDriver('driver')]);
    expect(driver.stops).toBe(1);
  });
});

describe('defect 57: unregistering a devio', () => {
  it('unbinds the devices that are reached through it, stops it, and binds them through another', async () => {
    const { framework, journal, io, driver, at } = makeWorld();
    const second = new FakeDevioProvider({ backend: 'second', journal });
    framework.registerDevio(second);
    await framework.start();
    journal.length = 0;
    await framework.unregisterDevio({ api: io.api, backend: 'memory', enumeratorApi: io.enumeratorApi });
    expect(journal).toEqual([
      ...['pktio:close', 'devio:close', 'memory:stop', 'second:usable', 'second:open', 'driver:probe'],
    ]);
    expect([at('a').devio?.backend, driver.probes.length]).toEqual(['second', 2]);
  });

  it('leaves devices alone that are reached through another', async () => {
    const { framework, driver, at } = makeWorld();
    const second = new FakeDevioProvider({ backend: 'second' });
    framework.registerDevio(second);
    await framework.start();
    await framework.unregisterDevio(second);
    expect([at('a').devio?.backend, driver.probes.length]).toEqual(['memory', 1]);
  });

  it('while a probe goes on through it: one registered under its key afterwards is another, and is tried', async () => {
    const { framework, io, driver, at } = makeWorld();
    const next = new FakeDevioProvider({ version: '2.0.0' });
    let gone: Promise<void> | undefined;
    driver.onProbe = () => {
      gone ??= framework.unregisterDevio(io);
    };
    await framework.start();
    await gone;
    expect([at('a').state, driver.probes.length, io.opened.map((d) => d.closes)]).toEqual(['unbound', 1, [1]]);
    framework.registerDevio(next);
    await framework.settled();
    expect([at('a').state, driver.probes.length, next.opened.map((d) => d.closes)]).toEqual(['bound', 2, [0]]);
  });
});

describe('defect 57: unregistering an enumerator or a class', () => {
  it('an enumerator: its devices are removed, then it is stopped; the others stay', async () => {
    const { framework, kind, journal, events } = makeWorld();
    await framework.start();
    kind.host?.addEnumerator(new FakeEnumerator({ name: 'second', addresses: ['x'], journal }));
    await framework.settled();
    journal.length = 0;
    events.length = 0;
    await framework.unregisterEnumerator('fake', 'second');
    expect(journal).toEqual(['pktio:close', 'devio:close', 'second:stop']);
    expect(eventLines(events)).toEqual([
      ...['device-unbound fake/second/x', 'device-removed fake/second/x', 'enumerator-removed fake/second'],
    ]);
    expect(framework.devices().map((d) => d.id)).toEqual(['fake/bus/a']);
  });

  it('an enumerator that its class removes', async () => {
    const { framework, kind, bus } = makeWorld();
    await framework.start();
    await Promise.all([kind.host?.removeEnumerator('bus'), kind.host?.removeEnumerator('bus')]);
    await kind.host?.removeEnumerator('never-there');
    expect([bus.stops, framework.devices(), framework.enumerators()]).toEqual([1, [], []]);
  });

  it('devices whose removal was asked for before are gone when their enumerator is stopped', async () => {
    const { framework, bus } = makeWorld({ addresses: ['a', 'b'] });
    await framework.start();
    let left = -1;
    bus.onStop = () => {
      left = framework.devices().length;
    };
    const done = framework.unregisterEnumerator('fake', 'bus');
    const removed = bus.unplug('b');
    await Promise.all([done, removed]);
    expect(left).toBe(0);
  });

  it('a class: devices, enumerators, the class, in that order', async () => {
    const { framework, kind, journal, events } = makeWorld();
    await framework.start();
    journal.length = 0;
    events.length = 0;
    await framework.unregisterClass('fake');
    expect(journal).toEqual(['pktio:close', 'devio:close', 'bus:stop', 'fake:stop']);
    expect([framework.classes(), framework.enumerators(), framework.devices()]).toEqual([[], [], []]);
    framework.registerClass(kind);
    await framework.settled();
    expect(framework.device('fake/bus/a')?.state).toBe('bound');
  });

  it('a class that does not run is not stopped', async () => {
    const { framework, kind } = makeWorld();
    await framework.unregisterClass('fake');
    expect([kind.stops, framework.classes()]).toEqual([0, []]);
  });

  it('a class whose unregistration was asked for before it was started is not started', async () => {
    const { framework, kind, journal } = makeWorld();
    const started = framework.start();
    await Promise.all([started, framework.unregisterClass('fake')]);
    expect([kind.stops, journal.filter((line) => line.startsWith('fake'))]).toEqual([0, []]);
  });
});

describe('unregistering what is not there', () => {
  it('is refused, and the error lists what is', async () => {
    const { framework, io } = makeWorld();
    await framework.start();
    const codes = await Promise.all([
      rejection(framework.unregisterDriver('x')),
      rejection(framework.unregisterDevio({ ...io, backend: 'x' })),
      rejection(framework.unregisterClass('x')),
      rejection(framework.unregisterEnumerator('fake', 'x')),
    ]);
    expect(codes.map(codeOf)).toEqual(['NO_SUCH_DRIVER', 'NO_SUCH_DEVIO', 'NO_SUCH_CLASS', 'NO_SUCH_ENUMERATOR']);
    expect(codes[0]?.message).toBe('driver x: it is not registered; registered are: driver');
  });

  it('a driver that was never started is stopped when it goes, and not twice after a stop of the framework', async () => {
    const { framework, driver, io } = makeWorld();
    await framework.unregisterDevio(io);
    expect(io.stops).toBe(1);
    await framework.start();
    await framework.stop();
    await framework.unregisterDriver('driver');
    expect(driver.stops).toBe(1);
  });

  it('other classes are not touched by it', async () => {
    const { framework, driver } = makeWorld();
    framework.registerClass(new FakeClass({ name: 'empty' }));
    await framework.start();
    await framework.unregisterClass('empty');
    expect([framework.devices().length, driver.probes.length]).toEqual([1, 1]);
  });
});
