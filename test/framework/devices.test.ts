import { describe, expect, it } from 'vitest';
import {
  codeOf,
  deferred,
  eventLines,
  FakeClass,
  FakeEnumerator,
  hang,
  makeWorld,
  refusal,
  rejection,
  sleep,
} from '../fakes/framework.ts';

describe('defect 54: removal of a device', () => {
  it('that is bound unbinds it first, and frees nothing too early', async () => {
    const { framework, bus, io, driver, events, at } = makeWorld();
    await framework.start();
    const device = at('a');
    events.length = 0;
    await bus.unplug('a');
    expect(eventLines(events)).toEqual(['device-unbound fake/bus/a', 'device-removed fake/bus/a']);
    expect([io.opened[0]?.closes, driver.pktios[0]?.closes, device.state]).toEqual([1, 1, 'removed']);
    expect([framework.devices(), framework.device('fake/bus/a')]).toEqual([[], undefined]);
  });

  it('that is unbound just removes it', async () => {
    const { framework, bus, driver, events, at } = makeWorld();
    driver.onProbe = () => Promise.reject(new Error('no'));
    await framework.start();
    const device = at('a');
    events.length = 0;
    await bus.unplug('a');
    expect([eventLines(events), device.state]).toEqual([['device-removed fake/bus/a'], 'removed']);
  });

  it('whose unbinding is late resolves when it has gone, not before', async () => {
    const { framework, bus, driver, at } = makeWorld({ unbindDeadlineMs: 1000 });
    await framework.start();
    const device = at('a');
    const gate = deferred();
    driver.pktios[0]!.onClose = () => gate.promise;
    let gone = false;
    const removed = bus.unplug('a').then(() => {
      gone = true;
    });
    await sleep(5);
    expect([gone, device.state, framework.devices()]).toEqual([false, 'unbinding', [device]]);
    gate.resolve();
    await removed;
    expect(device.state).toBe('removed');
  });

  it('whose unbinding fails is removed, but not reported as success', async () => {
    const { framework, bus, io, events, at } = makeWorld();
    await framework.start();
    const device = at('a');
    events.length = 0;
    io.onClose = () => Promise.reject(new Error('EBUSY'));
    expect(codeOf(await rejection(bus.unplug('a')))).toBe('UNBIND_FAILED');
    expect(eventLines(events)).toEqual([
      ...['error devio fake-io v1 (memory) EBUSY', 'device-failed fake/bus/a', 'device-removed fake/bus/a'],
    ]);
    expect([device.state, framework.devices()]).toEqual(['removed', []]);
  });

  it('whose unbinding never ends is forced after the deadline that was asked for', async () => {
    const { framework, bus, io, at } = makeWorld({ onQuiesce: hang, unbindDeadlineMs: 10_000 });
    await framework.start();
    const device = at('a');
    await bus.unplug('a', { deadlineMs: 5 });
    expect([device.state, io.opened[0]?.forces, io.opened[0]?.closes]).toEqual(['removed', 1, 1]);
  });

  it('that was asked for twice happens once, and both wait for its end', async () => {
    const { framework, bus, io, driver, events, at } = makeWorld();
    await framework.start();
    const device = at('a');
    events.length = 0;
    const states: string[] = [];
    await Promise.all([1, 2].map(() => bus.unplug('a').then(() => states.push(device.state))));
    expect(states).toEqual(['removed', 'removed']);
    expect([io.opened[0]?.closes, driver.pktios[0]?.closes, events.length]).toEqual([1, 1, 2]);
  });

  it('that is not there resolves at once', async () => {
    const { framework, bus, events } = makeWorld();
    await framework.start();
    events.length = 0;
    await bus.unplug('nowhere');
    await bus.unplug('a');
    await bus.unplug('a');
    expect(eventLines(events)).toEqual(['device-unbound fake/bus/a', 'device-removed fake/bus/a']);
  });

  it('during its probe: what the probe gives is closed, and it is never bound', async () => {
    const { framework, bus, io, driver, events } = makeWorld({ addresses: [], callbackDeadlineMs: 1000 });
    const [probing, gate] = [deferred(), deferred()];
    driver.onProbe = () => {
      probing.resolve();
      return gate.promise;
    };
    await framework.start();
    bus.plug('b');
    await probing.promise;
    const removed = bus.unplug('b');
    gate.resolve();
    await removed;
    expect([io.opened[0]?.closes, driver.pktios[0]?.closes]).toEqual([1, 1]);
    expect(eventLines(events)).toEqual([
      ...['enumerator-added fake/bus', 'device-added fake/bus/b', 'device-removed fake/bus/b'],
    ]);
  });

  it('of a failed device works', async () => {
    const { framework, bus, io, at } = makeWorld();
    await framework.start();
    const device = at('a');
    io.onClose = () => Promise.reject(new Error('EBUSY'));
    await rejection(framework.unbind(device));
    await bus.unplug('a');
    expect(device.state).toBe('removed');
  });

  it('before it was announced is silent', async () => {
    const { framework, bus, driver, events } = makeWorld({ addresses: [] });
    await framework.start();
    events.length = 0;
    bus.plug('b');
    await bus.unplug('b');
    expect([events, driver.probes]).toEqual([[], []]);
  });
});

describe('defect 55: addresses', () => {
  it('one address under two enumerators is two devices', async () => {
    const { framework } = makeWorld();
    framework.registerClass(new FakeClass({ name: 'other', enumerators: [new FakeEnumerator({ addresses: ['a'] })] }));
    await framework.start();
    expect(framework.devices().map((d) => d.id)).toEqual(['fake/bus/a', 'other/bus/a']);
  });

  it('one address twice in one enumerator is refused, and the first device stays', async () => {
    const { framework, bus, driver, at } = makeWorld();
    await framework.start();
    const device = at('a');
    expect(refusal(() => bus.plug('a'))).toBe('DUPLICATE_DEVICE');
    await framework.settled();
    expect([at('a'), framework.devices().length, driver.probes.length]).toEqual([device, 1, 1]);
  });

  it('also when both are created at once, before anything was done about the first', async () => {
    const { framework, bus } = makeWorld({ addresses: [] });
    await framework.start();
    bus.plug('b');
    expect(refusal(() => bus.plug('b'))).toBe('DUPLICATE_DEVICE');
    const results = await Promise.allSettled([1, 2].map(async () => bus.plug('c')));
    expect(results.map((r) => r.status)).toEqual(['fulfilled', 'rejected']);
  });

  it('an address whose device is being removed can be used again at once: a device that is pulled and plugged', async () => {
    const { framework, bus, driver, events, at } = makeWorld();
    await framework.start();
    const old = at('a');
    events.length = 0;
    const removed = bus.unplug('a');
    bus.plug('a', { revision: 2 });
    expect(at('a')).not.toBe(old);
    await removed;
    await framework.settled();
    expect([old.state, at('a').state, at('a').facts, driver.probes.length]).toEqual([
      'removed',
      'bound',
      { revision: 2 },
      2,
    ]);
    expect(eventLines(events)).toEqual([
      ...['device-unbound fake/bus/a', 'device-removed fake/bus/a'],
      ...['device-added fake/bus/a', 'device-bound fake/bus/a'],
    ]);
  });
});

describe('hosts of what does not run any more', () => {
  it('a device that is added after the stop is not taken, and reported', async () => {
    const { framework, bus, events } = makeWorld();
    await framework.start();
    await framework.stop();
    events.length = 0;
    bus.plug('b');
    expect([framework.devices(), eventLines(events)]).toEqual([[], ['error enumerator fake/bus HOST_CLOSED']]);
  });

  it('a device that is added while the enumerator stops is ignored: its events may still be on the way', async () => {
    const { framework, bus, events } = makeWorld();
    await framework.start();
    bus.onStop = () => bus.plug('b');
    await framework.stop();
    expect(framework.devices()).toEqual([]);
    expect(eventLines(events).filter((line) => line.startsWith('error'))).toEqual([]);
  });

  it('a device that is added while the others are removed goes too, unseen', async () => {
    const { framework, bus, driver, events } = makeWorld();
    await framework.start();
    driver.pktios[0]!.onClose = () => bus.plug('b');
    await framework.unregisterEnumerator('fake', 'bus');
    expect([framework.devices(), driver.probes.length, bus.stops]).toEqual([[], 1, 1]);
    expect(eventLines(events)).not.toContain('device-added fake/bus/b');
  });

  it('an enumerator that is added after the stop is not taken, and reported', async () => {
    const { framework, kind, events } = makeWorld();
    await framework.start();
    await framework.stop();
    events.length = 0;
    kind.host?.addEnumerator(new FakeEnumerator({ name: 'late' }));
    expect(eventLines(events)).toEqual(['error class fake HOST_CLOSED']);
    await framework.start();
    expect(framework.enumerators().map((e) => e.name)).toEqual(['bus']);
  });

  it('a host of an earlier start does not reach a later one', async () => {
    const { framework, kind } = makeWorld();
    await framework.start();
    const old = kind.host;
    await framework.stop();
    await framework.start();
    old?.addEnumerator(new FakeEnumerator({ name: 'late' }));
    await framework.settled();
    expect(framework.enumerators().map((e) => e.name)).toEqual(['bus']);
  });
});
