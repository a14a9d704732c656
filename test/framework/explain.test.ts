import { describe, expect, it } from 'vitest';
import { FakeDevioProvider, FakeDriver, IO, makeWorld } from '../fakes/framework.ts';

describe('explain', () => {
  it('lists every refusal with driver, release, devio, back end, stage and reason, in order of preference', async () => {
    const { framework, io, driver, at } = makeWorld();
    io.onUsable = () => 'it is bound to ixgbe';
    driver.onProbe = () => Promise.reject(new Error('revision 3'));
    framework.registerDevio(new FakeDevioProvider({ backend: 'second' }));
    framework.registerDriver(new FakeDriver({ name: 'pci-only', version: '2.1.0', enumeratorClass: 'pci' }));
    framework.registerDriver(new FakeDriver({ name: 'picky', ids: [{ vendor: 1 }, { vendor: 2 }] }));
    framework.registerDriver(new FakeDriver({ name: 'first', priority: 1, devios: [{ name: 'none', version: 1 }] }));
    await framework.start();
    const { device, state, attempts } = framework.explain(at('a'));
    expect([device, state]).toEqual(['fake/bus/a', 'unbound']);
    const io1 = { devio: 'fake-io v1', driver: 'driver', driverVersion: '1.0.0' };
    const before = { devio: '', backend: '', driverVersion: '1.0.0' };
    expect(attempts).toEqual([
      {
        ...{ ...before, driver: 'first', devio: 'none v1', stage: 'devio' },
        reason: 'no devio offers none v1 (registered: none of that name)',
      },
      { ...io1, backend: 'memory', stage: 'usable', reason: 'it is bound to ixgbe' },
      { ...io1, backend: 'second', stage: 'probe', reason: 'revision 3' },
      {
        ...{ ...before, driver: 'pci-only', driverVersion: '2.1.0', stage: 'class' },
        reason: 'it is for devices of class pci, and this one is fake',
      },
      { ...before, driver: 'picky', stage: 'ids', reason: 'none of its 2 device ids has the facts of this device' },
    ]);
  });

  it('sums up by the attempt that came farthest', async () => {
    const { framework, io, at } = makeWorld();
    io.onUsable = () => 'it is bound to ixgbe';
    framework.registerDriver(new FakeDriver({ name: 'other', enumeratorClass: 'pci', priority: 1 }));
    await framework.start();
    expect(framework.explain(at('a')).summary).toBe(
      'fake/bus/a is not bound: driver driver through fake-io v1 (memory): it is bound to ixgbe',
    );
  });

  it('sums up every way by which a driver came as far', async () => {
    const { framework, io, at } = makeWorld();
    io.onUsable = () => 'another kernel driver has it';
    const second = new FakeDevioProvider({ backend: 'second' });
    second.onUsable = () => 'it needs huge pages';
    framework.registerDevio(second);
    await framework.start();
    expect(framework.explain(at('a')).summary).toBe(
      'fake/bus/a is not bound: driver driver through fake-io v1 (memory): another kernel driver has it; ' +
        'or through fake-io v1 (second): it needs huge pages',
    );
    // Once, when the reason is the same.
    second.onUsable = () => 'another kernel driver has it';
    await framework.bind(at('a')).catch(() => {});
    expect(framework.explain(at('a')).summary).toBe(
      'fake/bus/a is not bound: driver driver through fake-io v1 (memory, second): another kernel driver has it',
    );
  });

  it.each([
    ['no driver at all', [], 'no driver is registered'],
    [
      'none of its class',
      [new FakeDriver({ enumeratorClass: 'pci' })],
      'none of the 1 registered drivers is for its class',
    ],
    [
      'none with its ids',
      [new FakeDriver({ ids: [{ x: 1 }] })],
      'driver driver: none of its 1 device ids has the facts of this device',
    ],
  ])('%s', async (_name, drivers, reason) => {
    const { framework, at } = makeWorld();
    await framework.unregisterDriver('driver');
    for (const driver of drivers) framework.registerDriver(driver);
    await framework.start();
    expect(framework.explain(at('a')).summary).toBe(`fake/bus/a is not bound: ${reason}`);
  });

  it('of a device that was added this moment says that it was not matched yet', async () => {
    const { framework, bus, at } = makeWorld();
    await framework.start();
    bus.plug('b');
    expect(framework.explain(at('b'))).toEqual({
      ...{ device: 'fake/bus/b', state: 'unbound', attempts: [] },
      summary: 'fake/bus/b is not bound: matching has not come to it yet',
    });
  });

  it('of a bound device ends with the binding: what comes after it was not tried', async () => {
    const { framework, at } = makeWorld();
    framework.registerDriver(new FakeDriver({ name: 'never-asked' }));
    framework.registerDriver(new FakeDriver({ name: 'foreign', enumeratorClass: 'pci' }));
    await framework.start();
    const { summary, attempts } = framework.explain(at('a'));
    expect(attempts.map((a) => `${a.driver} ${a.stage}`)).toEqual(['driver bound']);
    expect(summary).toBe('fake/bus/a is bound to driver 1.0.0 through fake-io v1 (memory)');
  });

  it('follows what is registered: a driver that has gone is not an excuse any more', async () => {
    const { framework, driver, at } = makeWorld();
    driver.onProbe = () => Promise.reject(new Error('no'));
    await framework.start();
    framework.registerDriver(new FakeDriver({ name: 'late', devios: [{ ...IO, version: 9 }] }));
    await framework.unregisterDriver('driver');
    expect(framework.explain(at('a')).attempts.map((a) => `${a.driver} ${a.stage}`)).toEqual(['late devio']);
  });

  it('does not count a driver that is on its way out', async () => {
    const { framework, at } = makeWorld();
    await framework.start();
    await framework.unbind(at('a'));
    const gone = framework.unregisterDriver('driver');
    await expect(framework.bind(at('a'))).rejects.toThrow('is not bound: no driver is registered');
    await gone;
    // The same when it is bind that comes first in the queue.
    framework.registerDriver(new FakeDriver({ name: 'second' }));
    await framework.settled();
    await framework.unbind(at('a'));
    const bound = framework.bind(at('a'));
    const leaving = framework.unregisterDriver('second');
    await expect(bound).rejects.toThrow('is not bound: no driver is registered');
    await leaving;
  });

  it('of a removed device says so', async () => {
    const { framework, bus, at } = makeWorld();
    await framework.start();
    const device = at('a');
    await bus.unplug('a');
    expect(framework.explain(device)).toMatchObject({ state: 'removed', summary: 'fake/bus/a has been removed' });
  });
});

describe('listings', () => {
  it('show releases, apis and what is bound to what', async () => {
    const { framework } = makeWorld();
    await framework.start();
    const devices = ['fake/bus/a'];
    const bus = { name: 'fake-bus', version: 1 };
    expect(framework.classes()).toEqual([{ name: 'fake', version: '1.0.0', running: true, enumerators: ['bus'] }]);
    expect(framework.enumerators()).toEqual([
      { name: 'bus', version: '1.0.0', class: 'fake', api: bus, portNames: undefined, devices },
    ]);
    expect(framework.devios()).toEqual([
      { name: 'fake-devio', version: '1.0.0', api: IO, backend: 'memory', enumeratorApi: bus, devices },
    ]);
    expect(framework.drivers()).toEqual([
      ...[
        {
          name: 'driver',
          version: '1.0.0',
          enumeratorClasses: ['fake'],
          ids: [{}],
          devios: [IO],
          priority: 0,
          devices,
        },
      ],
    ]);
    expect(framework.devices().map((d) => d.id)).toEqual(devices);
  });

  it('can be read inside a callback', async () => {
    const { framework, driver } = makeWorld();
    let seen: string[] = [];
    driver.onProbe = () => {
      seen = framework.devices().map((d) => `${d.id} ${d.state}`);
    };
    await framework.start();
    expect(seen).toEqual(['fake/bus/a probing']);
  });
});
