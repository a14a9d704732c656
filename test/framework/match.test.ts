import { describe, expect, it } from 'vitest';
import { match } from '../../lib/framework/match.ts';
import { type DevioFacts, type DriverFacts, devioRecord, driverRecord } from '../../lib/framework/records.ts';
import { BUS, FakeDevioProvider, FakeDriver, IO, makeWorld } from '../fakes/framework.ts';

const device = { enumerator: { name: 'bus', class: 'fake', api: BUS }, facts: { vendor: 0x1af4, name: 'x' } };
const driver = (options: ConstructorParameters<typeof FakeDriver>[0]) => driverRecord(new FakeDriver(options));
const devio = (options: ConstructorParameters<typeof FakeDevioProvider>[0] = {}) =>
  devioRecord(new FakeDevioProvider(options));

/** A line per verdict: what would be tried, or where it was refused. */
function lines(drivers: readonly DriverFacts[], devios: readonly DevioFacts[]): string[] {
  return match(device, drivers, devios).map((v) =>
    'refusal' in v
      ? `${v.refusal.driver} refused: ${v.refusal.stage}`
      : `${v.candidate.driver.name} ${v.candidate.devio.backend} v${v.candidate.devio.api.version} #${v.candidate.index}`,
  );
}

describe('the order in which candidates are tried', () => {
  it('drivers by priority, equal ones by registration; devios by the driver; back ends by registration', () => {
    const other = { name: 'other-io', version: 3 };
    const drivers = [
      driver({ name: 'first' }),
      driver({ name: 'low', priority: -1 }),
      driver({ name: 'high', priority: 1, devios: [other, IO] }),
      driver({ name: 'second' }),
    ];
    const devios = [devio({ backend: 'm' }), devio({ backend: 'a' }), devio({ backend: 'o', api: other })];
    expect(lines(drivers, devios)).toEqual([
      ...['high o v3 #0', 'high m v1 #1', 'high a v1 #1'],
      ...['first m v1 #0', 'first a v1 #0', 'second m v1 #0', 'second a v1 #0', 'low m v1 #0', 'low a v1 #0'],
    ]);
  });

  it('does not change what it is given', () => {
    const drivers = Object.freeze([driver({ name: 'a' }), driver({ name: 'b', priority: 1 })]);
    match(device, drivers, Object.freeze([devio()]));
    expect(drivers.map((d) => d.name)).toEqual(['a', 'b']);
  });
});

describe('static refusals', () => {
  it('another class', () => {
    expect(lines([driver({ enumeratorClass: 'pci' })], [devio()])).toEqual(['driver refused: class']);
    const several = driver({ enumeratorClass: ['pci', 'socket'] });
    expect(match(device, [several], [devio()])).toMatchObject([
      { refusal: { reason: 'it is for devices of class pci or socket, and this one is fake' } },
    ]);
  });

  it('a driver may be for several classes', () => {
    expect(lines([driver({ enumeratorClass: ['pci', 'fake'] })], [devio()])).toEqual(['driver memory v1 #0']);
  });

  it('ids: every key must be a fact with that very value; any one id is enough', () => {
    const of = (...ids: Record<string, string | number | boolean>[]) => lines([driver({ ids })], [devio()])[0];
    expect(of({})).toBe('driver memory v1 #0');
    expect(of({ vendor: 1 }, { vendor: 0x1af4, name: 'x' })).toBe('driver memory v1 #0');
    expect(of({ vendor: 0x1af4, name: 'y' })).toBe('driver refused: ids');
    expect(of({ vendor: '6900' })).toBe('driver refused: ids');
    expect(of({ absent: 1 })).toBe('driver refused: ids');
    // Not a fact, though every object has one.
    expect(of({ constructor: 'Object' })).toBe('driver refused: ids');
  });

  it('defect 47: another version of the devio api, and the reason says which there is', () => {
    const [verdict] = match(device, [driver({ devios: [{ ...IO, version: 2 }] })], [devio()]);
    expect(verdict).toEqual({
      refusal: {
        ...{ driver: 'driver', driverVersion: '1.0.0', devio: 'fake-io v2', backend: '', stage: 'devio' },
        reason: 'no devio offers fake-io v2 (registered: fake-io v1)',
      },
    });
  });

  it('defect 47: another version of the enumerator api, and the reason names both', () => {
    const [verdict] = match(device, [driver({})], [devio({ enumeratorApi: { ...BUS, version: 2 } })]);
    expect(verdict).toEqual({
      refusal: {
        ...{
          driver: 'driver',
          driverVersion: '1.0.0',
          devio: 'fake-io v1',
          backend: 'memory',
          stage: 'enumerator-api',
        },
        reason: 'it reaches devices of fake-bus v2, and this one is of fake-bus v1',
      },
    });
  });

  it('a newer version is as different as an older one', () => {
    for (const version of [0, 2]) {
      expect(lines([driver({ devios: [{ ...IO, version }] })], [devio()])).toEqual(['driver refused: devio']);
      expect(lines([driver({})], [devio({ enumeratorApi: { ...BUS, version } })])).toEqual([
        'driver refused: enumerator-api',
      ]);
    }
  });

  it('versions of the objects themselves are never matched', () => {
    expect(lines([driver({ version: '9.9.9' })], [devio({ version: '0.0.1' })])).toEqual(['driver memory v1 #0']);
  });

  it('no devio at all', () => {
    expect(match(device, [driver({})], [])).toMatchObject([
      { refusal: { reason: 'no devio offers fake-io v1 (registered: none of that name)' } },
    ]);
  });
});

describe('in a framework', () => {
  it('defect 47: what does not fit is not probed, opened or asked, and explain says why', async () => {
    const { framework, driver: fits, at } = makeWorld();
    const apart = new FakeDevioProvider({ api: { name: 'apart', version: 1 }, enumeratorApi: { ...BUS, version: 2 } });
    const wrong = new FakeDriver({ name: 'wrong', priority: 9, devios: [{ ...IO, version: 2 }, apart.api] });
    framework.registerDevio(apart);
    framework.registerDriver(wrong);
    await framework.start();
    expect([wrong.probes.length, apart.asked.length, fits.probes.length]).toEqual([0, 0, 1]);
    const stages = framework.explain(at('a')).attempts.map((a) => `${a.driver} ${a.devio} ${a.stage}`);
    expect(stages).toEqual(['wrong fake-io v2 devio', 'wrong apart v1 enumerator-api', 'driver fake-io v1 bound']);
  });

  it('defect 48: two versions of one devio and two back ends of one version are all usable, by preference', async () => {
    const { framework, io, at } = makeWorld();
    const v2 = new FakeDevioProvider({ api: { ...IO, version: 2 }, backend: 'new' });
    const second = new FakeDevioProvider({ backend: 'second' });
    framework.registerDevio(v2);
    framework.registerDevio(second);
    const both = new FakeDriver({ name: 'both', priority: 1, devios: [v2.api, IO] });
    framework.registerDriver(both);
    await framework.start();
    const boundTo = () => [at('a').devio, both.probes.at(-1)?.index, both.probes.at(-1)?.devio.backend];
    expect(boundTo()).toEqual([{ api: v2.api, backend: 'new' }, 0, 'new']);
    await framework.unregisterDevio(v2);
    expect(boundTo()).toEqual([{ api: IO, backend: 'memory' }, 1, 'memory']);
    await framework.unregisterDevio(io);
    expect(boundTo()).toEqual([{ api: IO, backend: 'second' }, 1, 'second']);
  });
});
