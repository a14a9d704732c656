import { describe, expect, it } from 'vitest';
import {
  deferred,
  eventLines,
  FakeClass,
  FakeDevioProvider,
  FakeDriver,
  FakeEnumerator,
  hang,
  makeWorld,
  sleep,
} from '../fakes/framework.ts';

describe('start', () => {
  it('starts classes, then their enumerators, and resolves when their devices have been matched', async () => {
    const { framework, journal, events, at } = makeWorld();
    await framework.start();
    expect(journal).toEqual(['fake:start', 'bus:start', 'memory:usable', 'memory:open', 'driver:probe']);
    expect(eventLines(events)).toEqual([
      ...['enumerator-added fake/bus', 'device-added fake/bus/a', 'device-bound fake/bus/a'],
    ]);
    expect(at('a').state).toBe('bound');
  });

  it('happens once, however often it is asked for', async () => {
    const { framework, journal, driver } = makeWorld();
    await Promise.all([framework.start(), framework.start()]);
    await framework.start();
    expect([journal.filter((line) => line === 'fake:start').length, driver.probes.length]).toEqual([1, 1]);
  });

  it('calls nobody before it, and nothing is called by a registration itself', async () => {
    const { framework, journal } = makeWorld();
    await framework.settled();
    expect([journal, framework.devices(), framework.enumerators()]).toEqual([[], [], []]);
    await framework.start();
    journal.length = 0;
    framework.registerClass(new FakeClass({ name: 'late', journal }));
    expect(journal).toEqual([]);
    await framework.settled();
    expect(journal).toEqual(['late:start']);
  });
});

describe('stop', () => {
  it('takes everything down in order: users before what they use, the last before the first', async () => {
    const { framework, journal, events } = makeWorld({ addresses: ['a', 'b'] });
    framework.registerDriver(new FakeDriver({ name: 'second', journal }));
    framework.registerDevio(new FakeDevioProvider({ backend: 'other', journal }));
    const more = new FakeEnumerator({ name: 'more', journal });
    framework.registerClass(new FakeClass({ name: 'kind', enumerators: [more], journal }));
    await framework.start();
    journal.length = 0;
    events.length = 0;
    await framework.stop();
    expect(journal).toEqual([
      ...['pktio:close', 'devio:close', 'pktio:close', 'devio:close'],
      ...['second:stop', 'driver:stop', 'other:stop', 'memory:stop'],
      ...['more:stop', 'bus:stop', 'kind:stop', 'fake:stop'],
    ]);
    expect(eventLines(events)).toEqual([
      ...[
        'device-unbound fake/bus/b',
        'device-unbound fake/bus/a',
        'device-removed fake/bus/b',
        'device-removed fake/bus/a',
      ],
      ...['enumerator-removed kind/more', 'enumerator-removed fake/bus'],
    ]);
  });

  it('is not held up by what fails: everything is reported', async () => {
    const { framework, kind, bus, io, driver, journal, events } = makeWorld({ addresses: ['a', 'b'] });
    await framework.start();
    events.length = 0;
    const fails = (what: string) => () => Promise.reject(new Error(what));
    for (const pktio of driver.pktios) pktio.onClose = fails('pktio');
    [kind.onStop, bus.onStop, io.onStop, driver.onStop, io.onClose, io.onForce] = [
      ...[fails('class'), fails('enumerator'), fails('devio'), fails('driver'), fails('close'), fails('force')],
    ];
    await framework.stop();
    expect(journal.slice(-4)).toEqual(['driver:stop', 'memory:stop', 'bus:stop', 'fake:stop']);
    expect(
      eventLines(events)
        .filter((line) => line.startsWith('error'))
        .map((line) => line.split(' ').at(-1)),
    ).toEqual([...['pktio', 'force', 'close', 'pktio', 'force', 'close', 'driver', 'devio', 'enumerator', 'class']]);
    expect([framework.devices(), framework.enumerators()]).toEqual([[], []]);
  });

  it('is not held up by what hangs', async () => {
    const { framework, kind, bus, io, driver } = makeWorld({ onQuiesce: hang });
    await framework.start();
    [kind.onStop, bus.onStop, io.onStop, driver.onStop, io.onClose, io.onForce] = [hang, hang, hang, hang, hang, hang];
    driver.pktios[0]!.onClose = hang;
    await framework.stop();
    expect([kind.stops, bus.stops, io.stops, driver.stops, framework.devices()]).toEqual([1, 1, 1, 1, []]);
  });

  it('happens once, and does nothing to a framework that was never started', async () => {
    const { framework, kind, driver, events } = makeWorld();
    await framework.stop();
    expect([driver.stops, events]).toEqual([0, []]);
    await framework.start();
    await Promise.all([framework.stop(), framework.stop()]);
    await framework.stop();
    expect([kind.stops, driver.stops]).toEqual([1, 1]);
  });

  it('during a probe: the device is not bound any more, and no other is tried', async () => {
    const { framework, io, driver, events } = makeWorld({ addresses: ['a', 'b'], callbackDeadlineMs: 1000 });
    const [probing, gate] = [deferred(), deferred()];
    driver.onProbe = () => {
      probing.resolve();
      return gate.promise;
    };
    const started = framework.start();
    await probing.promise;
    const stopped = framework.stop();
    gate.resolve();
    await Promise.all([started, stopped]);
    expect([driver.probes.length, io.opened[0]?.closes, driver.pktios[0]?.closes]).toEqual([1, 1, 1]);
    expect(eventLines(events)).not.toContain('device-bound fake/bus/a');
  });
});

describe('defect 57: start, stop, start again in one process', () => {
  it('finds and binds everything again; devices are new ones', async () => {
    const { framework, driver, io, kind, at } = makeWorld();
    for (let round = 1; round <= 3; round++) {
      await framework.start();
      expect([at('a').state, driver.probes.length]).toEqual(['bound', round]);
      await framework.stop();
      expect([framework.devices(), kind.stops, driver.stops, io.stops]).toEqual([[], round, round, round]);
    }
    expect(new Set(driver.probes.map((p) => p.device)).size).toBe(3);
    expect([io.opened.map((d) => d.closes), driver.pktios.map((p) => p.closes)]).toEqual([
      [1, 1, 1],
      [1, 1, 1],
    ]);
  });

  it('also when all is asked for at once', async () => {
    const { framework, at, driver } = makeWorld();
    await Promise.all([framework.start(), framework.stop(), framework.start()]);
    expect([at('a').state, framework.devices().length]).toEqual(['bound', 1]);
    await Promise.all([framework.stop(), framework.start(), framework.stop()]);
    expect([framework.devices(), driver.pktios.every((p) => p.closes === 1)]).toEqual([[], true]);
  });

  it('what was registered while it was stopped takes part', async () => {
    const { framework, at } = makeWorld();
    await framework.start();
    await framework.stop();
    framework.registerDriver(new FakeDriver({ name: 'new', priority: 1 }));
    await framework.start();
    expect(at('a').driver).toBe('new');
  });
});

describe('defect 53: a start that fails', () => {
  it('of a class: reported; its enumerators are withdrawn unstarted; the others go on', async () => {
    const { framework, kind, journal, events } = makeWorld();
    kind.onStart = () => Promise.reject(new Error('no sysfs'));
    const other = new FakeEnumerator({ name: 'other', addresses: ['x'], journal });
    framework.registerClass(new FakeClass({ name: 'other', enumerators: [other], journal }));
    await framework.start();
    expect(journal).toEqual(['fake:start', 'other:start', 'other:start']);
    expect(eventLines(events)).toEqual([
      'error class fake no sysfs',
      'enumerator-added other/other',
      'device-added other/other/x',
    ]);
    expect(framework.classes().map((c) => [c.name, c.running, c.enumerators])).toEqual([
      ['fake', false, []],
      ['other', true, ['other']],
    ]);
    await framework.stop();
    expect(kind.stops).toBe(0);
  });

  it('of a class is tried again with the next start of the framework', async () => {
    const { framework, kind, at } = makeWorld();
    kind.onStart = () => Promise.reject(new Error('no sysfs'));
    await framework.start();
    await framework.stop();
    kind.onStart = () => {};
    await framework.start();
    expect(at('a').state).toBe('bound');
  });

  it('of a class that hangs: the same, and when it comes back late it is stopped', async () => {
    const { framework, kind, events } = makeWorld();
    const gate = deferred();
    kind.onStart = () => gate.promise;
    await framework.start();
    expect(eventLines(events)).toEqual(['error class fake CALLBACK_TIMEOUT']);
    expect([framework.enumerators(), kind.stops]).toEqual([[], 0]);
    gate.resolve();
    await sleep(1);
    await framework.settled();
    expect(kind.stops).toBe(1);
  });

  it('of a class that comes back when it was started anew: the new one runs on', async () => {
    const { framework, kind, at } = makeWorld();
    const gate = deferred();
    kind.onStart = () => gate.promise;
    await framework.start();
    await framework.stop();
    kind.onStart = () => {};
    await framework.start();
    gate.resolve();
    await sleep(1);
    await framework.settled();
    expect([kind.stops, at('a').state]).toEqual([0, 'bound']);
  });

  it('of an enumerator: reported; it and its devices are withdrawn, never probed, never announced', async () => {
    const { framework, bus, io, driver, events } = makeWorld({ addresses: ['a', 'b'] });
    bus.onStart = () => Promise.reject(new Error('ENODEV'));
    await framework.start();
    expect(eventLines(events)).toEqual(['error enumerator fake/bus ENODEV']);
    expect([io.asked, driver.probes, framework.devices(), framework.enumerators()]).toEqual([[], [], [], []]);
    await framework.stop();
    expect(bus.stops).toBe(0);
  });

  it('of an enumerator that hangs: the same, and when it comes back late it is stopped', async () => {
    const { framework, bus, events, driver } = makeWorld();
    const gate = deferred();
    bus.onStart = () => gate.promise;
    await framework.start();
    expect(eventLines(events)).toEqual(['error enumerator fake/bus CALLBACK_TIMEOUT']);
    gate.resolve();
    await sleep(1);
    await framework.settled();
    expect([bus.stops, driver.probes]).toEqual([1, []]);
  });

  it('of an enumerator that comes back when it was started anew: the new one runs on', async () => {
    const { framework, bus, at } = makeWorld();
    const gate = deferred();
    bus.onStart = () => gate.promise;
    await framework.start();
    await framework.stop();
    bus.onStart = () => {};
    await framework.start();
    gate.resolve();
    await sleep(1);
    await framework.settled();
    expect([bus.stops, at('a').state]).toEqual([0, 'bound']);
  });

  it('devices are not probed before the start of their enumerator has succeeded', async () => {
    const { framework, bus, driver } = makeWorld({ callbackDeadlineMs: 1000 });
    const gate = deferred();
    bus.onStart = () => gate.promise;
    const started = framework.start();
    await sleep(5);
    expect(driver.probes).toEqual([]);
    gate.resolve();
    await started;
    expect(driver.probes).toHaveLength(1);
  });
});

describe('several frameworks in one process', () => {
  it('are independent: names, devices, events, stops', async () => {
    const [one, two] = [makeWorld(), makeWorld({ addresses: ['a', 'b'] })];
    await Promise.all([one.framework.start(), two.framework.start()]);
    one.events.length = 0;
    two.events.length = 0;
    await one.framework.stop();
    expect([one.framework.devices().length, two.framework.devices().map((d) => d.state)]).toEqual([
      0,
      ['bound', 'bound'],
    ]);
    expect([one.events.length > 0, two.events]).toEqual([true, []]);
  });

  it('a callback of one may wait for the other', async () => {
    const [one, two] = [makeWorld({ callbackDeadlineMs: 1000 }), makeWorld()];
    one.driver.onProbe = () => two.framework.start();
    await one.framework.start();
    expect([one.at('a').state, two.at('a').state]).toEqual(['bound', 'bound']);
  });

  it('one that hangs does not hold up the other', async () => {
    const [one, two] = [makeWorld(), makeWorld()];
    one.driver.onProbe = hang;
    const started = one.framework.start();
    await two.framework.start();
    expect([two.at('a').state, one.framework.devices()[0]?.state]).toEqual(['bound', 'probing']);
    await started;
  });
});
