import { describe, expect, it } from 'vitest';
import { DeviceError, PortError, RegistryError } from '../../lib/errors.ts';
import {
  codeOf,
  eventLines,
  FakeClass,
  FakeDriver,
  FakeEnumerator,
  FakePortEnumerator,
  hang,
  makeWorld,
  rejection,
} from '../fakes/framework.ts';

/** A started world with an enumerator that makes devices for `toy:…`, after `bus`, and a driver for them. */
async function toys(options: Parameters<typeof makeWorld>[0] = {}) {
  const world = makeWorld(options);
  const ports = new FakePortEnumerator({ name: 'ports' });
  const toy = new FakeDriver({ name: 'toy', enumeratorClass: 'toys' });
  world.framework.registerClass(new FakeClass({ name: 'toys', enumerators: [ports] }));
  world.framework.registerDriver(toy);
  await world.framework.start();
  world.events.length = 0;
  return { ...world, ports, toy };
}

describe('request', () => {
  it('resolves with the device, bound', async () => {
    const { framework, toy, events } = await toys();
    const device = await framework.request('toy:1');
    expect([device.id, device.state, device.driver]).toEqual(['toys/ports/toy:1', 'bound', 'toy']);
    expect(device.pktio).toBe(toy.pktios[0]);
    expect(eventLines(events)).toEqual(['device-added toys/ports/toy:1', 'device-bound toys/ports/toy:1']);
    expect(toy.probes).toHaveLength(1);
  });

  it('asks the enumerators in order, and the first whose name it is makes it', async () => {
    const { framework, kind } = await toys();
    const rival = new FakePortEnumerator({ name: 'rival' });
    kind.host?.addEnumerator(rival);
    await framework.settled();
    expect((await framework.request('toy:1')).enumerator.name).toBe('rival');
  });

  it('of a name that is nobody’s: says which names are accepted', async () => {
    const { framework } = await toys();
    const error = await rejection(framework.request('eth0'));
    expect(error).toBeInstanceOf(RegistryError);
    expect(error.message).toBe('port eth0: no enumerator knows this name; accepted are: toy:NAME (toys/ports)');
    expect(codeOf(error)).toBe('NO_SUCH_PORT');
  });

  it('where no enumerator takes names: says so', async () => {
    const { framework } = makeWorld();
    await framework.start();
    const error = await rejection(framework.request('eth0'));
    expect(error.message).toBe('port eth0: no enumerator knows ports by name; register a class whose enumerators do');
  });

  it('before start and after stop is refused', async () => {
    const { framework } = makeWorld();
    expect(codeOf(await rejection(framework.request('toy:1')))).toBe('NOT_STARTED');
    await framework.start();
    await framework.stop();
    expect(codeOf(await rejection(framework.request('toy:1')))).toBe('NOT_STARTED');
  });

  it('of a name that its enumerator finds wrong: its error, and what it made is gone', async () => {
    const { framework, ports, toy, events } = await toys();
    ports.onRequest = () => {
      ports.plug('toy:half');
      throw new PortError('BAD_PORT_NAME', { what: 'port toy:1', why: 'size 7 is odd', fix: 'use an even one' });
    };
    const error = await rejection(framework.request('toy:1'));
    expect([error.constructor, error.message]).toEqual([PortError, 'port toy:1: size 7 is odd; use an even one']);
    expect([framework.devices().map((d) => d.id), toy.probes, events]).toEqual([['fake/bus/a'], [], []]);
  });

  it('an error without a code gets one', async () => {
    const { framework, ports } = await toys();
    const cause = new TypeError('x is undefined');
    ports.onRequest = () => {
      throw cause;
    };
    const error = await rejection(framework.request('toy:1'));
    expect([codeOf(error), error.cause]).toEqual(['BAD_PORT_NAME', cause]);
    expect(error.message).toBe(
      'port toy:1: enumerator toys/ports refused it: x is undefined; accepted are: toy:NAME (toys/ports)',
    );
  });

  it('an enumerator that names an address where it has no device is at fault', async () => {
    const { framework, ports } = await toys();
    ports.request = () => 'nowhere';
    expect(codeOf(await rejection(framework.request('toy:1')))).toBe('NO_SUCH_DEVICE');
  });

  it('that no driver takes: says why, and the device is gone, so that it can be asked for again', async () => {
    const { framework, toy } = await toys();
    toy.onProbe = () => Promise.reject(new Error('no memory'));
    const error = await rejection(framework.request('toy:1'));
    expect(error).toBeInstanceOf(DeviceError);
    expect(codeOf(error)).toBe('NOT_BOUND');
    expect(error.message).toContain('toys/ports/toy:1 is not bound: driver toy through fake-io v1 (memory): no memory');
    expect(framework.devices().map((d) => d.id)).toEqual(['fake/bus/a']);
    toy.onProbe = () => {};
    expect((await framework.request('toy:1')).state).toBe('bound');
  });

  it('whose probe hangs fails at the deadline', async () => {
    const { framework, toy } = await toys();
    toy.onProbe = hang;
    expect(codeOf(await rejection(framework.request('toy:1')))).toBe('NOT_BOUND');
    expect(framework.devices()).toHaveLength(1);
  });
});

describe('a port has one holder', () => {
  it('a second request while it is bound: PORT_TAKEN', async () => {
    const { framework, toy } = await toys();
    const device = await framework.request('toy:1');
    const error = await rejection(framework.request('toy:1'));
    expect(error).toBeInstanceOf(DeviceError);
    expect(codeOf(error)).toBe('PORT_TAKEN');
    expect([device.state, toy.probes.length]).toEqual(['bound', 1]);
  });

  it('release removes a device that was made for the request; then the name is free', async () => {
    const { framework, io, toy } = await toys();
    const device = await framework.request('toy:1');
    await framework.release(device);
    await framework.release(device);
    expect([device.state, toy.pktios[0]?.closes, io.opened.at(-1)?.closes]).toEqual(['removed', 1, 1]);
    const again = await framework.request('toy:1');
    expect([again.state, again === device]).toEqual(['bound', false]);
  });

  it('release of one that was there before binds it afresh, so that nothing of the last holder is left', async () => {
    const { framework, ports, toy } = await toys();
    ports.plug('toy:1');
    await framework.settled();
    const device = await framework.request('toy:1');
    expect(toy.probes).toHaveLength(1);
    expect(codeOf(await rejection(framework.request('toy:1')))).toBe('PORT_TAKEN');
    await framework.release(device);
    expect([device.state, toy.probes.length, toy.pktios[0]?.closes]).toEqual(['bound', 2, 1]);
    expect(await framework.request('toy:1')).toBe(device);
  });

  it('release of one that nobody holds does nothing', async () => {
    const { framework, driver, at } = await toys();
    await framework.release(at('a'));
    expect([at('a').state, driver.probes.length]).toEqual(['bound', 1]);
  });

  it('release that fails says so', async () => {
    const { framework, io } = await toys();
    const device = await framework.request('toy:1');
    io.onClose = () => Promise.reject(new Error('EBUSY'));
    expect(codeOf(await rejection(framework.release(device)))).toBe('UNBIND_FAILED');
    expect(device.state).toBe('removed');
  });

  it('who lost it because its driver went does not hold it any more', async () => {
    const { framework, toy } = await toys();
    const device = await framework.request('toy:1');
    await framework.unregisterDriver('toy');
    expect(device.state).toBe('unbound');
    framework.registerDriver(toy);
    await framework.settled();
    expect(await framework.request('toy:1')).toBe(device);
  });

  it('one that was unbound by request is bound again by the next request', async () => {
    const { framework } = await toys();
    const device = await framework.request('toy:1');
    await framework.unbind(device);
    expect(device.state).toBe('unbound');
    expect(await framework.request('toy:1')).toBe(device);
    expect(device.state).toBe('bound');
  });

  it('a request also retries a device that was there but refused', async () => {
    const { framework, ports, toy } = await toys();
    toy.onProbe = () => Promise.reject(new Error('no cable'));
    ports.plug('toy:1');
    await framework.settled();
    expect(codeOf(await rejection(framework.request('toy:1')))).toBe('NOT_BOUND');
    // It was not made for the request, so it stays.
    expect(framework.device('toys/ports/toy:1')?.state).toBe('unbound');
    toy.onProbe = () => {};
    expect((await framework.request('toy:1')).state).toBe('bound');
  });

  it('an enumerator that knows its devices may answer with the address, and add nothing', async () => {
    const { framework, kind } = await toys();
    const pci = Object.assign(new FakeEnumerator({ name: 'pci', addresses: ['03:00.0'] }), {
      request: (name: string) => (name === '03:00.0' ? name : undefined),
    });
    kind.host?.addEnumerator(pci);
    const device = await framework.request('03:00.0');
    expect([device.id, device.state]).toEqual(['fake/pci/03:00.0', 'bound']);
  });
});
