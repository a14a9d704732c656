/** A driver's later release in its place (design: live update), seen from the framework. */
import { describe, expect, it, vi } from 'vitest';
import type { FrameworkEvent } from '../../lib/framework/types.ts';
import type { Succession } from '../../lib/pktio/types.ts';
import { deferred, FakeDriver, type FakePktio, makeWorld, refusal } from '../fakes/framework.ts';

/** A world with a bound device whose port can be taken over, and notes what it is told. */
async function bound(handover?: string) {
  const world = makeWorld({ addresses: ['a'] });
  const { framework, journal } = world;
  await framework.unregisterDriver('driver');
  const driver = new FakeDriver({ name: 'nic', journal, ...(handover === undefined ? {} : { handover }) });
  framework.registerDriver(driver);
  await framework.start();
  const [pktio] = driver.pktios;
  const told: Succession[] = [];
  pktio.succeed = async (by) => {
    told.push(by);
    await by.make(by.compatible ? { state: 'rings' } : undefined);
    return by.compatible;
  };
  const events: FrameworkEvent[] = [];
  framework.on((event) => events.push(event));
  journal.length = 0;
  return { ...world, driver, pktio: pktio as FakePktio, told, events };
}

describe('another release of a driver', () => {
  it('goes on with the rings, when both name the same handover: same port, same devio', async () => {
    const { framework, journal, driver, pktio, told, events, at } = await bound('nic-1');
    const next = new FakeDriver({ name: 'nic', version: '1.0.1', journal, handover: 'nic-1' });
    await framework.replaceDriver(next);
    expect(journal).toEqual(['nic 1.0.1:succeed', 'nic:stop']);
    expect([told.map(({ compatible }) => compatible), next.taken]).toEqual([[true], ['rings']]);
    expect(at('a').pktio).toBe(pktio);
    expect(framework.drivers()).toMatchObject([{ name: 'nic', version: '1.0.1', devices: [at('a').id] }]);
    expect(events).toMatchObject([{ type: 'driver-replaced', driver: 'nic', version: '1.0.1', kept: true }]);
    expect(framework.explain(at('a')).attempts.at(-1)).toMatchObject({
      driverVersion: '1.0.1',
      stage: 'bound',
      reason: 'it took over from 1.0.0',
    });
    expect([driver.stops, next.stops]).toEqual([1, 0]);
  });

  it.each([
    ['neither names a handover', undefined, undefined],
    ['only the earlier one does', 'nic-1', undefined],
    ['only the later one does', undefined, 'nic-1'],
    ['they name different ones', 'nic-1', 'nic-2'],
  ])('sets the device up anew when %s', async (_, earlier, later) => {
    const { framework, journal, pktio, told, events, at } = await bound(earlier);
    const next = new FakeDriver({
      ...{ name: 'nic', version: '1.0.1', journal },
      ...(later === undefined ? {} : { handover: later }),
    });
    await framework.replaceDriver(next);
    expect(journal).toEqual(['nic:probe', 'nic:stop']);
    expect([told.map(({ compatible }) => compatible), at('a').pktio === pktio]).toEqual([[false], true]);
    expect(events).toMatchObject([{ type: 'driver-replaced', kept: false }]);
  });

  it('is unbound and matched afresh where the port cannot be taken over', async () => {
    const { framework, journal, pktio, at } = await bound();
    delete pktio.succeed;
    const next = new FakeDriver({ name: 'nic', version: '1.0.1', journal });
    await framework.replaceDriver(next);
    expect(journal).toEqual(['pktio:close', 'devio:close', 'nic:stop', 'memory:usable', 'memory:open', 'nic:probe']);
    expect(at('a').pktio).toBe(next.pktios[0]);
  });

  it('is unbound, told as an error, and matched afresh when the later release fails', async () => {
    const { framework, journal, events, at } = await bound('nic-1');
    const next = new FakeDriver({ name: 'nic', version: '1.0.1', journal });
    next.onProbe = () => (next.probes.length === 1 ? Promise.reject(new Error('no link')) : undefined);
    await framework.replaceDriver(next);
    const [first] = events;
    expect(first).toMatchObject({ type: 'error', source: 'driver nic', error: { message: 'no link' } });
    expect(events.slice(1).map(({ type }) => type)).toEqual(['device-unbound', 'device-bound']);
    expect([at('a').state, at('a').pktio === next.pktios[0]]).toEqual(['bound', true]);
  });

  it('closes the port that a later release gives after its deadline', async () => {
    const { framework, journal, at } = await bound('nic-1');
    const next = new FakeDriver({ name: 'nic', version: '1.0.1', journal });
    const { promise, resolve } = deferred();
    next.onProbe = () => (next.probes.length === 1 ? promise : undefined);
    await framework.replaceDriver(next);
    expect(at('a').state).toBe('bound');
    resolve();
    await promise;
    await framework.settled();
    await vi.waitFor(() => expect(next.pktios.map(({ closes }) => closes)).toEqual([0, 1]));
    expect(at('a').pktio).toBe(next.pktios[0]);
  });

  it('leaves devices alone that it does not select any more', async () => {
    const { framework, journal, told, at } = await bound('nic-1');
    const next = new FakeDriver({
      name: 'nic',
      version: '2.0.0',
      journal,
      handover: 'nic-1',
      ids: [{ kind: 'other' }],
    });
    await framework.replaceDriver(next);
    expect([told, at('a').state, next.probes]).toEqual([[], 'unbound', []]);
  });

  it('has the engine take the workers away around the exchange, whatever comes of it', async () => {
    const order: string[] = [];
    const world = makeWorld({
      addresses: ['a'],
      onReplace: async (device, exchange) => {
        order.push(`away from ${device.address}`);
        order.push(`kept: ${await exchange()}`);
      },
    });
    await world.framework.start();
    world.driver.pktios[0].succeed = async () => true;
    await world.framework.replaceDriver(new FakeDriver({ name: 'driver', version: '1.0.1' }));
    expect(order).toEqual(['away from a', 'kept: true']);
  });

  it('can be taken back, and unregistered like any other', async () => {
    const { framework, journal, driver, at } = await bound('nic-1');
    await framework.replaceDriver(new FakeDriver({ name: 'nic', version: '1.0.1', journal, handover: 'nic-1' }));
    const back = new FakeDriver({ name: 'nic', version: '1.0.0', journal, handover: 'nic-1' });
    await framework.replaceDriver(back);
    expect([driver.stops, back.taken]).toEqual([1, ['rings']]);
    await framework.unregisterDriver('nic');
    expect([at('a').state, back.stops, framework.drivers()]).toEqual(['unbound', 1, []]);
  });

  it('is refused, and nothing changes: unknown name, the same version, another class, half a handover', async () => {
    const { framework, journal } = await bound('nic-1');
    const replace = (driver: FakeDriver) => refusal(() => framework.replaceDriver(driver));
    expect(replace(new FakeDriver({ name: 'nik', version: '2' }))).toBe('NO_SUCH_DRIVER');
    expect(replace(new FakeDriver({ name: 'nic' }))).toBe('SAME_VERSION');
    expect(replace(new FakeDriver({ name: 'nic', version: '2', enumeratorClass: 'else' }))).toBe('OTHER_CLASS');
    const half = { ...new FakeDriver({ name: 'nic', version: '2' }), handover: 'nic-1', probe: () => Promise.reject() };
    expect(refusal(() => framework.replaceDriver(half as never))).toBe('BAD_HANDOVER');
    await framework.settled();
    expect([journal, framework.drivers().map(({ version }) => version)]).toEqual([[], ['1.0.0']]);
  });

  it('may follow at once: one after the other', async () => {
    const { framework, journal, told } = await bound('nic-1');
    const first = framework.replaceDriver(new FakeDriver({ name: 'nic', version: '2', journal }));
    const second = framework.replaceDriver(new FakeDriver({ name: 'nic', version: '3', journal }));
    await Promise.all([first, second]);
    expect([framework.drivers().map(({ version }) => version), told.length]).toEqual([['3'], 2]);
  });
});
