import { describe, expect, it } from 'vitest';
import { RegistryError } from '../../lib/errors.ts';
import { Framework } from '../../lib/framework/framework.ts';
import type { Driver } from '../../lib/framework/types.ts';
import {
  BUS,
  codeOf,
  FakeClass,
  FakeDevioProvider,
  FakeDriver,
  FakeEnumerator,
  IO,
  makeWorld,
  refusal,
} from '../fakes/framework.ts';

const driverRefusal = (driver: Driver) => refusal(() => new Framework().registerDriver(driver));

describe('names (defect 59)', () => {
  const bad = ['', 'x'.repeat(64), 'a b', 'a/b', 'a\0', 'ü', '-a', '.', 'a\n'];

  it.each(bad)('a driver cannot be called %j', (name) => {
    expect(driverRefusal(new FakeDriver({ name }))).toBe('BAD_NAME');
    expect(driverRefusal(new FakeDriver({ enumeratorClass: ['fake', name] }))).toBe('BAD_NAME');
  });

  it.each(bad)('a class cannot be called %j', (name) => {
    expect(refusal(() => new Framework().registerClass(new FakeClass({ name })))).toBe('BAD_NAME');
  });

  it.each(bad)('a devio cannot be called %j, nor its back end', (name) => {
    expect(refusal(() => new Framework().registerDevio(new FakeDevioProvider({ name })))).toBe('BAD_NAME');
    expect(refusal(() => new Framework().registerDevio(new FakeDevioProvider({ backend: name })))).toBe('BAD_NAME');
  });

  it('63 characters are allowed, and nothing is truncated', () => {
    const framework = new Framework();
    const stem = 'x'.repeat(62);
    framework.registerDriver(new FakeDriver({ name: `${stem}a` }));
    framework.registerDriver(new FakeDriver({ name: `${stem}b` }));
    expect(framework.drivers().map((d) => d.name)).toEqual([`${stem}a`, `${stem}b`]);
  });

  it('a name of the wrong type is refused, not converted', () => {
    expect(driverRefusal(Object.assign(new FakeDriver(), { name: 7 }))).toBe('BAD_NAME');
    expect(driverRefusal(new FakeDriver({ enumeratorClass: [] }))).toBe('BAD_NAME');
  });
});

describe('apis (defect 59: an empty slot never matches anything)', () => {
  const bad = [
    { name: '', version: 1 },
    { name: 'x', version: -1 },
    { name: 'x', version: 1.5 },
    { name: 'x', version: Number.NaN },
  ];

  it.each(bad)('%j is refused wherever an api is named', (api) => {
    expect(driverRefusal(new FakeDriver({ devios: [IO, api] }))).toBe('BAD_API');
    expect(refusal(() => new Framework().registerDevio(new FakeDevioProvider({ api })))).toBe('BAD_API');
    expect(refusal(() => new Framework().registerDevio(new FakeDevioProvider({ enumeratorApi: api })))).toBe('BAD_API');
  });

  it('a missing slot is refused', () => {
    const driver: object = Object.assign(new FakeDriver(), { devios: [undefined] });
    expect(refusal(() => Reflect.apply(Framework.prototype.registerDriver, new Framework(), [driver]))).toBe('BAD_API');
  });

  it('a driver that lists no devio, or one twice, is refused', () => {
    expect(driverRefusal(new FakeDriver({ devios: [] }))).toBe('NO_DEVIOS');
    expect(driverRefusal(new FakeDriver({ devios: [IO, { ...IO }] }))).toBe('BAD_API');
  });
});

describe('what an object must have', () => {
  it('a driver without ids, with ids that are no data, or with a priority that is no number is refused', () => {
    expect(driverRefusal(new FakeDriver({ ids: [] }))).toBe('NO_IDS');
    expect(driverRefusal(Object.assign(new FakeDriver(), { ids: [{ vendor: { id: 1 } }] }))).toBe('BAD_IDS');
    expect(driverRefusal(new FakeDriver({ priority: Number.NaN }))).toBe('BAD_PRIORITY');
  });

  it.each(['probe', 'stop'])('a driver whose %s is no function is refused', (key) => {
    expect(driverRefusal(Object.assign(new FakeDriver(), { [key]: 1 }))).toBe('MISSING_CALLBACK');
  });

  it.each(['usable', 'open'])('a devio without %s is refused', (key) => {
    const devio = Object.assign(new FakeDevioProvider(), { [key]: undefined });
    expect(refusal(() => new Framework().registerDevio(devio))).toBe('MISSING_CALLBACK');
  });

  it('a class without start is refused', () => {
    const object = Object.assign(new FakeClass(), { start: undefined });
    expect(refusal(() => new Framework().registerClass(object))).toBe('MISSING_CALLBACK');
  });

  it('optional callbacks may be absent', () => {
    const driver = Object.assign(new FakeDriver(), { stop: undefined });
    new Framework().registerDriver(driver);
  });

  it.each(['', 7, 'x'.repeat(64)])('a release called %j is refused', (version) => {
    expect(driverRefusal(Object.assign(new FakeDriver(), { version }))).toBe('BAD_VERSION');
  });

  it('what is no object at all is refused', () => {
    for (const nothing of [null, undefined, 'driver']) {
      expect(refusal(() => Reflect.apply(Framework.prototype.registerDriver, new Framework(), [nothing]))).toBe(
        'BAD_OBJECT',
      );
    }
  });
});

describe('the framework api that an object was written for', () => {
  const frameworkApi = 2;

  it('a mismatch is refused at registration, before anything else is looked at', () => {
    expect(driverRefusal(new FakeDriver({ frameworkApi, name: '' }))).toBe('BAD_FRAMEWORK_API');
    expect(refusal(() => new Framework().registerClass(new FakeClass({ frameworkApi })))).toBe('BAD_FRAMEWORK_API');
    expect(refusal(() => new Framework().registerDevio(new FakeDevioProvider({ frameworkApi })))).toBe(
      'BAD_FRAMEWORK_API',
    );
  });

  it('the error names both versions and the remedy', () => {
    const register = () => new Framework().registerDriver(new FakeDriver({ frameworkApi }));
    expect(register).toThrow(RegistryError);
    expect(register).toThrow(/^driver "driver": it was written for framework API 2, and this is 1; use a release/);
  });

  it('an enumerator of another framework api fails the class that adds it', async () => {
    const world = makeWorld();
    world.framework.registerClass(new FakeClass({ name: 'old', enumerators: [new FakeEnumerator({ frameworkApi })] }));
    await world.framework.start();
    expect(world.events.flatMap((e) => (e.type === 'error' ? [`${e.source} ${codeOf(e.error)}`] : []))).toEqual([
      'class old BAD_FRAMEWORK_API',
    ]);
  });
});

describe('duplicates', () => {
  it('a second driver or class of one name is refused, and the first one stays', () => {
    const framework = new Framework();
    framework.registerDriver(new FakeDriver({ version: '1' }));
    framework.registerClass(new FakeClass({ version: '1' }));
    expect(refusal(() => framework.registerDriver(new FakeDriver({ version: '2' })))).toBe('DUPLICATE_DRIVER');
    expect(refusal(() => framework.registerClass(new FakeClass({ version: '2' })))).toBe('DUPLICATE_CLASS');
    expect(framework.drivers().map((d) => d.version)).toEqual(['1']);
    expect(framework.classes().map((c) => c.version)).toEqual(['1']);
  });

  it('a devio is the same only when api, version, back end and enumerator api all are (defect 48)', () => {
    const framework = new Framework();
    framework.registerDevio(new FakeDevioProvider());
    framework.registerDevio(new FakeDevioProvider({ backend: 'other' }));
    framework.registerDevio(new FakeDevioProvider({ api: { ...IO, version: 2 } }));
    framework.registerDevio(new FakeDevioProvider({ enumeratorApi: { ...BUS, version: 2 } }));
    framework.registerDevio(new FakeDevioProvider({ enumeratorApi: { name: 'other', version: 1 } }));
    expect(refusal(() => framework.registerDevio(new FakeDevioProvider({ name: 'another-name' })))).toBe(
      'DUPLICATE_DEVIO',
    );
    expect(framework.devios()).toHaveLength(5);
  });

  it('a second enumerator of one name in one class is refused; in another class it is not', async () => {
    const { framework, kind } = makeWorld();
    framework.registerClass(new FakeClass({ name: 'other', enumerators: [new FakeEnumerator()] }));
    await framework.start();
    expect(refusal(() => kind.host?.addEnumerator(new FakeEnumerator()))).toBe('DUPLICATE_ENUMERATOR');
    expect(framework.enumerators().map((e) => `${e.class}/${e.name}`)).toEqual(['fake/bus', 'other/bus']);
  });
});

describe('devices', () => {
  it.each(['', 'a\nb', 'x'.repeat(4097)])('an address like %j is refused', async (address) => {
    const { framework, bus } = makeWorld();
    await framework.start();
    expect(refusal(() => bus.plug(address))).toBe('BAD_ADDRESS');
  });

  it('facts that are no data are refused', async () => {
    const { framework, bus } = makeWorld();
    await framework.start();
    const device = { address: 'b', facts: { deep: {} } };
    expect(refusal(() => Reflect.apply(Reflect.get(bus.host ?? {}, 'addDevice'), bus.host, [device]))).toBe(
      'BAD_FACTS',
    );
  });
});

describe('what the framework keeps', () => {
  it('an object that changes after its registration changes nothing', async () => {
    const { framework, bus, at } = makeWorld({ addresses: [] });
    const facts = { colour: 'red' };
    const ids = [{ colour: 'red' }];
    const picky = new FakeDriver({ name: 'picky', priority: 1, ids });
    framework.registerDriver(picky);
    await framework.start();
    ids[0] = { colour: 'blue' };
    bus.plug('b', facts);
    facts.colour = 'blue';
    await framework.settled();
    expect(at('b').facts).toEqual({ colour: 'red' });
    expect(at('b').driver).toBe('picky');
  });

  it('callbacks are called on their object, so that they can reach what is theirs', async () => {
    const { framework, kind, bus, io, driver } = makeWorld();
    await framework.start();
    // All fakes keep what they saw in fields of their own: without `this` each of these would have failed.
    expect([kind.host, bus.host].map((host) => host === undefined)).toEqual([false, false]);
    expect([io.opened.length, driver.probes.length]).toEqual([1, 1]);
  });
});

describe('options', () => {
  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])('a deadline of %d ms is refused', (ms) => {
    expect(refusal(() => new Framework({ unbindDeadlineMs: ms }))).toBe('BAD_DEADLINE');
    expect(refusal(() => new Framework({ callbackDeadlineMs: ms }))).toBe('BAD_DEADLINE');
    expect(refusal(() => new Framework({ forceDeadlineMs: ms }))).toBe('BAD_DEADLINE');
  });
});
