import { describe, expect, it } from 'vitest';
import { DeviceError } from '../../lib/errors.ts';
import {
  codeOf,
  deferred,
  eventLines,
  FakeClass,
  FakeDevioProvider,
  FakeDriver,
  FakeEnumerator,
  FakePktio,
  hang,
  makeWorld,
  rejection,
  sleep,
} from '../fakes/framework.ts';

const OTHER_BUS = { name: 'other-bus', version: 1 };

describe('defect 50: whatever comes last triggers the missing probing, exactly once', () => {
  it('the device', async () => {
    const { framework, bus, driver, at } = makeWorld({ addresses: [] });
    await framework.start();
    bus.plug('late');
    await framework.settled();
    expect([at('late').state, driver.probes.length]).toEqual(['bound', 1]);
  });

  it('the driver', async () => {
    const { framework, driver: first, at } = makeWorld();
    first.onProbe = () => Promise.reject(new Error('not mine'));
    await framework.start();
    const late = new FakeDriver({ name: 'late' });
    framework.registerDriver(late);
    await framework.settled();
    expect([at('a').driver, late.probes.length]).toEqual(['late', 1]);
    // What refused the device before has not changed, so it is not asked again.
    expect(first.probes).toHaveLength(1);
  });

  it('the devio', async () => {
    const { framework, io, driver, at } = makeWorld();
    io.onUsable = () => 'it is bound to ixgbe';
    await framework.start();
    expect(at('a').state).toBe('unbound');
    framework.registerDevio(new FakeDevioProvider({ backend: 'late' }));
    await framework.settled();
    expect([at('a').devio?.backend, driver.probes.length, io.asked.length]).toEqual(['late', 1, 1]);
  });

  it('the class', async () => {
    const { framework, driver } = makeWorld({ addresses: [] });
    await framework.start();
    await framework.unregisterClass('fake');
    framework.registerClass(new FakeClass({ enumerators: [new FakeEnumerator({ addresses: ['x'] })] }));
    await framework.settled();
    expect([framework.device('fake/bus/x')?.state, driver.probes.length]).toEqual(['bound', 1]);
  });

  it('the enumerator', async () => {
    const { framework, kind, driver } = makeWorld({ addresses: [] });
    await framework.start();
    kind.host?.addEnumerator(new FakeEnumerator({ name: 'second', addresses: ['x'] }));
    await framework.settled();
    expect([framework.device('fake/second/x')?.state, driver.probes.length]).toEqual(['bound', 1]);
  });

  it('registrations that come together are matched together, by priority', async () => {
    const { framework, driver: none, at } = makeWorld();
    none.onProbe = () => Promise.reject(new Error('no'));
    await framework.start();
    const low = new FakeDriver({ name: 'low' });
    const high = new FakeDriver({ name: 'high', priority: 1 });
    framework.registerDriver(low);
    framework.registerDriver(high);
    await framework.settled();
    expect([at('a').driver, low.probes.length, high.probes.length]).toEqual(['high', 0, 1]);
  });

  it('what changes nothing for a device does not probe it again', async () => {
    const { framework, bus, driver } = makeWorld();
    driver.onProbe = () => Promise.reject(new Error('no'));
    await framework.start();
    framework.registerDriver(new FakeDriver({ name: 'foreign', enumeratorClass: 'pci' }));
    framework.registerDevio(new FakeDevioProvider({ backend: 'b', enumeratorApi: OTHER_BUS }));
    bus.plug('b');
    await framework.settled();
    expect(driver.probes.map((p) => p.device.address)).toEqual(['a', 'b']);
  });
});

describe('defect 51: of two drivers that both accept, priority decides', () => {
  it.each([
    ['high', 'low'],
    ['low', 'high'],
  ])('registered as %s, %s', async (...order) => {
    const { framework, at } = makeWorld();
    for (const name of order) framework.registerDriver(new FakeDriver({ name, priority: name === 'high' ? 20 : 10 }));
    await framework.start();
    expect(at('a').driver).toBe('high');
  });

  it('of equal ones the one that was registered first', async () => {
    const { framework, at } = makeWorld();
    framework.registerDriver(new FakeDriver({ name: 'second' }));
    await framework.start();
    expect(at('a').driver).toBe('driver');
  });

  it('a bound device stays with its driver when a better one comes', async () => {
    const { framework, at } = makeWorld();
    await framework.start();
    framework.registerDriver(new FakeDriver({ name: 'better', priority: 1 }));
    await framework.settled();
    expect(at('a').driver).toBe('driver');
    await framework.unbind(at('a'));
    await framework.bind(at('a'));
    expect(at('a').driver).toBe('better');
  });
});

describe('defect 49: devios are asked, and only about what is theirs', () => {
  it('one that is not usable is passed over, and its reason is kept', async () => {
    const { framework, io, driver, at } = makeWorld();
    io.onUsable = () => 'it is bound to ixgbe';
    framework.registerDevio(new FakeDevioProvider({ backend: 'second' }));
    await framework.start();
    expect([at('a').devio?.backend, io.opened.length, driver.probes.length]).toEqual(['second', 0, 1]);
    expect(framework.explain(at('a')).attempts).toMatchObject([
      { backend: 'memory', stage: 'usable', reason: 'it is bound to ixgbe' },
      { backend: 'second', stage: 'bound' },
    ]);
  });

  it('none is ever asked about a device of another enumerator api', async () => {
    const { framework, io } = makeWorld();
    const foreign = new FakeDevioProvider({ backend: 'foreign', enumeratorApi: OTHER_BUS });
    framework.registerDevio(foreign);
    const other = new FakeEnumerator({ name: 'other', api: OTHER_BUS, addresses: ['x', 'y'] });
    framework.registerClass(new FakeClass({ name: 'elsewhere', enumerators: [other] }));
    framework.registerDriver(new FakeDriver({ name: 'elsewhere', enumeratorClass: 'elsewhere' }));
    await framework.start();
    expect(io.asked).toEqual(['fake/bus/a']);
    expect(foreign.asked).toEqual(['elsewhere/other/x', 'elsewhere/other/y']);
  });

  it('one that throws, or answers nonsense, is passed over; what it threw is an error event', async () => {
    const { framework, io, events, at } = makeWorld();
    io.onUsable = () => {
      throw new Error('sysfs is gone');
    };
    const silent = new FakeDevioProvider({ backend: 'silent' });
    silent.onUsable = () => '';
    framework.registerDevio(silent);
    await framework.start();
    expect(framework.explain(at('a')).attempts.map((t) => t.reason)).toEqual(['sysfs is gone', 'it gave no reason']);
    expect(eventLines(events)).toContain('error devio fake-io v1 (memory) sysfs is gone');
    expect(silent.opened).toEqual([]);
  });

  it('one whose open fails is passed over', async () => {
    const { framework, io, events, at } = makeWorld();
    io.onOpen = () => Promise.reject(new Error('group is not viable'));
    framework.registerDevio(new FakeDevioProvider({ backend: 'second' }));
    await framework.start();
    expect(at('a').devio?.backend).toBe('second');
    expect(framework.explain(at('a')).attempts[0]).toMatchObject({ stage: 'open', reason: 'group is not viable' });
    expect(eventLines(events)).toContain('error devio fake-io v1 (memory) group is not viable');
  });

  it('one that opens to nothing is passed over', async () => {
    const { framework, io, driver, events } = makeWorld();
    io.open = async () => Object.create(null);
    await framework.start();
    expect(driver.probes).toEqual([]);
    expect(eventLines(events)).toContain('error devio fake-io v1 (memory) BAD_DEVIO');
  });
});

describe('defect 52: a probe that comes to nothing leaves nothing behind', () => {
  it('the devio is closed once, the device is free, and the next driver takes it', async () => {
    const { framework, io, driver, events, at } = makeWorld();
    driver.onProbe = () => Promise.reject(new Error('revision 3 is not supported'));
    const next = new FakeDriver({ name: 'next', priority: -1 });
    framework.registerDriver(next);
    await framework.start();
    expect(io.opened.map((d) => d.closes)).toEqual([1, 0]);
    expect(io.opened.map((d) => d.forces)).toEqual([0, 0]);
    expect([at('a').driver, next.probes[0]?.devio]).toEqual(['next', io.opened[1]]);
    expect(framework.explain(at('a')).attempts.map((t) => `${t.driver} ${t.stage} ${t.reason}`)).toEqual([
      'driver probe revision 3 is not supported',
      'next bound its probe took the device',
    ]);
    expect(eventLines(events)).toContain('error driver driver revision 3 is not supported');
  });

  it('the device shows no driver, no devio and no port', async () => {
    const { framework, driver, at } = makeWorld();
    driver.onProbe = () => {
      throw new Error('no');
    };
    await framework.start();
    const { state, driver: name, devio, pktio } = at('a');
    expect({ state, name, devio, pktio }).toEqual({
      state: 'unbound',
      name: undefined,
      devio: undefined,
      pktio: undefined,
    });
  });

  it('the driver is offered its next devio, and told which one it is given', async () => {
    const { framework, at } = makeWorld();
    const better = new FakeDevioProvider({ api: { name: 'better', version: 1 }, backend: 'b' });
    framework.registerDevio(better);
    const both = new FakeDriver({ name: 'both', priority: 1, devios: [better.api, { name: 'fake-io', version: 1 }] });
    both.onProbe = (_device, _devio, index) => (index === 0 ? Promise.reject(new Error('not that way')) : undefined);
    framework.registerDriver(both);
    await framework.start();
    expect(both.probes.map((p) => [p.index, p.devio.api.name])).toEqual([
      [0, 'better'],
      [1, 'fake-io'],
    ]);
    expect(at('a').devio?.api.name).toBe('fake-io');
    expect(better.opened.map((d) => d.closes)).toEqual([1]);
  });

  it('what it throws need not be an Error', async () => {
    const { framework, driver, at } = makeWorld();
    driver.onProbe = () => Promise.reject('nope');
    await framework.start();
    expect(framework.explain(at('a')).attempts[0]?.reason).toBe('nope');
  });

  it('a driver that gives no port is refused, and the device is forced, for it may be running', async () => {
    const { framework, io, driver, events, at } = makeWorld();
    driver.probe = async () => Object.create(null);
    await framework.start();
    expect(at('a').state).toBe('unbound');
    expect(io.opened.map((d) => [d.forces, d.closes])).toEqual([[1, 1]]);
    expect(eventLines(events)).toContain('error driver driver BAD_PKTIO');
  });

  it('a device whose devio does not close has failed: no other driver may touch it', async () => {
    const { framework, io, driver, events, at } = makeWorld();
    driver.onProbe = () => Promise.reject(new Error('no'));
    io.onClose = () => Promise.reject(new Error('EBUSY'));
    const next = new FakeDriver({ name: 'next' });
    framework.registerDriver(next);
    await framework.start();
    expect([at('a').state, next.probes.length]).toEqual(['failed', 0]);
    expect(eventLines(events)).toEqual([
      ...['enumerator-added fake/bus', 'device-added fake/bus/a', 'error driver driver no'],
      ...['error devio fake-io v1 (memory) EBUSY', 'device-failed fake/bus/a'],
    ]);
    expect(framework.explain(at('a')).summary).toMatch(/has failed .*EBUSY.* left alone until bind\(\) or its removal/);
    framework.registerDriver(new FakeDriver({ name: 'third' }));
    await framework.settled();
    expect(at('a').state).toBe('failed');
  });
});

describe('foreign code that hangs', () => {
  it('usable: passed over', async () => {
    const { framework, io, at } = makeWorld();
    io.onUsable = hang;
    framework.registerDevio(new FakeDevioProvider({ backend: 'second' }));
    await framework.start();
    expect(at('a').devio?.backend).toBe('second');
  });

  it('open: passed over, and what it opens later is closed', async () => {
    const { framework, io, at } = makeWorld();
    const gate = deferred();
    io.onOpen = () => gate.promise;
    framework.registerDevio(new FakeDevioProvider({ backend: 'second' }));
    await framework.start();
    expect([at('a').devio?.backend, io.opened.length]).toEqual(['second', 0]);
    gate.resolve();
    await sleep(1);
    await framework.settled();
    expect(io.opened.map((d) => d.closes)).toEqual([1]);
  });

  it('probe: the devio is forced and closed, another driver gets the device, and a late port is closed', async () => {
    const { framework, io, driver, at } = makeWorld();
    const gate = deferred();
    driver.onProbe = () => gate.promise;
    const next = new FakeDriver({ name: 'next' });
    framework.registerDriver(next);
    await framework.start();
    expect(at('a').driver).toBe('next');
    expect(io.opened.map((d) => [d.forces, d.closes])).toEqual([
      [1, 1],
      [0, 0],
    ]);
    gate.resolve();
    await sleep(1);
    await framework.settled();
    expect(driver.pktios.map((p) => p.closes)).toEqual([1]);
    expect(at('a').pktio).toBe(next.pktios[0]);
  });

  it('probe: the driver is not entered a second time for that device while it hangs', async () => {
    const { framework, driver, at } = makeWorld();
    framework.registerDevio(new FakeDevioProvider({ backend: 'second' }));
    driver.onProbe = hang;
    await framework.start();
    expect(driver.probes).toHaveLength(1);
    expect(framework.explain(at('a')).attempts.map((t) => `${t.backend}: ${t.reason}`)).toEqual([
      'memory: probe of driver driver: it did not end within 40 ms; find out what it waits for',
      'second: an earlier probe of this device has not ended',
    ]);
  });

  it('probe: a late failure is an error event', async () => {
    const { framework, driver, events } = makeWorld();
    const gate = deferred();
    driver.onProbe = () => gate.promise;
    await framework.start();
    gate.reject(new Error('after all, no'));
    await sleep(1);
    expect(eventLines(events).at(-1)).toBe('error driver driver after all, no');
  });
});

describe('bind by request', () => {
  it('tries everything again', async () => {
    const { framework, driver, io, at } = makeWorld();
    io.onUsable = () => 'it is bound to ixgbe';
    await framework.start();
    const error = await rejection(framework.bind(at('a')));
    expect(error).toBeInstanceOf(DeviceError);
    expect(codeOf(error)).toBe('NOT_BOUND');
    expect(error.message).toContain('driver driver through fake-io v1 (memory): it is bound to ixgbe');
    io.onUsable = () => true;
    await framework.bind(at('a'));
    expect([at('a').state, io.asked.length, driver.probes.length]).toEqual(['bound', 3, 1]);
  });

  it('does nothing to a bound device', async () => {
    const { framework, driver, at } = makeWorld();
    await framework.start();
    await framework.bind(at('a'));
    expect(driver.probes).toHaveLength(1);
  });

  it('brings a failed device back when what held it is gone', async () => {
    const { framework, io, at } = makeWorld();
    await framework.start();
    io.onClose = () => Promise.reject(new Error('EBUSY'));
    await rejection(framework.unbind(at('a')));
    expect(at('a').state).toBe('failed');
    io.onClose = () => {};
    await framework.bind(at('a'));
    expect([at('a').state, framework.explain(at('a')).summary]).toEqual([
      'bound',
      'fake/bus/a is bound to driver 1.0.0 through fake-io v1 (memory)',
    ]);
  });

  it('of a failed device goes through all drivers, as if nothing had been', async () => {
    const { framework, io, driver, at } = makeWorld();
    framework.registerDriver(new FakeDriver({ name: 'second' }));
    await framework.start();
    io.onClose = () => Promise.reject(new Error('EBUSY'));
    await rejection(framework.unbind(at('a')));
    io.onClose = () => {};
    driver.onProbe = () => Promise.reject(new Error('no'));
    await framework.bind(at('a'));
    expect([at('a').state, at('a').driver]).toEqual(['bound', 'second']);
  });

  it('is refused for a device that has been removed', async () => {
    const { framework, bus, at } = makeWorld();
    await framework.start();
    const device = at('a');
    await bus.unplug('a');
    expect(codeOf(await rejection(framework.bind(device)))).toBe('DEVICE_REMOVED');
  });
});

describe('a bound device', () => {
  it('shows what it is bound to, and its port', async () => {
    const { framework, driver, at } = makeWorld();
    await framework.start();
    const device = at('a');
    expect([device.driver, device.devio?.backend, device.state]).toEqual(['driver', 'memory', 'bound']);
    expect(device.pktio).toBeInstanceOf(FakePktio);
    expect(device.pktio).toBe(driver.pktios[0]);
  });

  it('is one object for all: probe, usable, events and listings', async () => {
    const { framework, driver, events, at } = makeWorld();
    await framework.start();
    expect(driver.probes[0]?.device).toBe(at('a'));
    expect(framework.devices()[0]).toBe(at('a'));
    expect(events.flatMap((e) => ('device' in e ? [e.device] : []))).toEqual([at('a'), at('a')]);
  });

  it('cannot be changed by those who hold it', async () => {
    const { framework, at } = makeWorld();
    await framework.start();
    expect(Reflect.set(at('a'), 'state', 'removed')).toBe(false);
    expect(Reflect.set(at('a').facts, 'vendor', 1)).toBe(false);
    expect(at('a').state).toBe('bound');
  });
});
