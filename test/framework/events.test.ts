import { describe, expect, it } from 'vitest';
import { Events } from '../../lib/framework/events.ts';
import type { FrameworkEvent } from '../../lib/framework/types.ts';
import { eventLines, makeWorld, sleep } from '../fakes/framework.ts';

const event: FrameworkEvent = { type: 'enumerator-added', enumerator: 'bus', class: 'fake' };

describe('defect 58: events', () => {
  it('added, bound, unbound and removed carry the device itself', async () => {
    const { framework, bus, events, at } = makeWorld();
    await framework.start();
    const device = at('a');
    await bus.unplug('a');
    const seen = events.flatMap((e) => ('device' in e ? [[e.type, e.device]] : []));
    expect(seen).toEqual([
      ...[
        ['device-added', device],
        ['device-bound', device],
        ['device-unbound', device],
        ['device-removed', device],
      ],
    ]);
    expect(events.find((e) => e.type === 'device-bound')).toMatchObject({ driver: 'driver', devio: 'fake-io v1' });
  });

  it('the device is in the state that the event speaks of', async () => {
    const { framework, bus, io } = makeWorld();
    const seen: string[] = [];
    framework.on((e) => void ('device' in e && e.type !== 'error' && seen.push(`${e.type} ${e.device?.state}`)));
    await framework.start();
    io.onClose = () => Promise.reject(new Error('EBUSY'));
    await bus.unplug('a').catch(() => {});
    expect(seen).toEqual([
      'device-added unbound',
      'device-bound bound',
      'device-failed failed',
      'device-removed removed',
    ]);
  });

  it('every listener hears everything, in order', async () => {
    const { framework, events } = makeWorld();
    const second: FrameworkEvent[] = [];
    framework.on((e) => void second.push(e));
    await framework.start();
    await framework.stop();
    expect(eventLines(second)).toEqual(eventLines(events));
    expect(second).toHaveLength(6);
  });

  it('there is none after unsubscribing', async () => {
    const { framework, bus } = makeWorld();
    const seen: FrameworkEvent[] = [];
    const off = framework.on((e) => void seen.push(e));
    await framework.start();
    const before = seen.length;
    off();
    off();
    await bus.unplug('a');
    expect([before, seen.length]).toEqual([3, 3]);
  });

  it('not even of the event that is being delivered', () => {
    const events = new Events();
    const seen: string[] = [];
    events.on(() => offSecond());
    const offSecond = events.on(() => void seen.push('second'));
    events.emit(event);
    expect(seen).toEqual([]);
  });

  it('a listener that unsubscribes itself takes no other along, and one that subscribes waits for the next', () => {
    const events = new Events();
    const seen: string[] = [];
    const off = events.on(() => {
      off();
      seen.push('once');
      events.on(() => void seen.push('new'));
    });
    events.on(() => void seen.push('always'));
    events.emit(event);
    expect(seen).toEqual(['once', 'always']);
    events.emit(event);
    expect(seen).toEqual(['once', 'always', 'always', 'new']);
  });

  it('one function subscribed twice is two listeners', () => {
    const events = new Events();
    let calls = 0;
    const listener = () => void calls++;
    const off = events.on(listener);
    events.on(listener);
    events.emit(event);
    off();
    events.emit(event);
    expect(calls).toBe(3);
  });
});

describe('a listener that throws', () => {
  it('breaks neither the others nor the framework, and is reported', async () => {
    const { framework, events, at } = makeWorld();
    const off = framework.on((e) => {
      if (e.type === 'device-added') throw new Error('oops');
    });
    const after: FrameworkEvent[] = [];
    framework.on((e) => void after.push(e));
    await framework.start();
    off();
    expect(at('a').state).toBe('bound');
    const lines = [
      'enumerator-added fake/bus',
      'device-added fake/bus/a',
      'error listener oops',
      'device-bound fake/bus/a',
    ];
    expect(eventLines(events)).toEqual(lines);
    expect(eventLines(after).toSorted()).toEqual(lines.toSorted());
  });

  it('also when it throws at everything: that does not go round for ever', () => {
    const events = new Events();
    const seen: FrameworkEvent[] = [];
    events.on(() => {
      throw new Error('always');
    });
    events.on((e) => void seen.push(e));
    events.emit(event);
    expect(eventLines(seen)).toEqual(['error listener always', 'enumerator-added fake/bus']);
  });

  it('also when it is an async function: the process lives on', async () => {
    const events = new Events();
    const seen: FrameworkEvent[] = [];
    const failing = async () => {
      throw new Error('later');
    };
    events.on(failing);
    events.on((e) => void seen.push(e));
    events.emit(event);
    await sleep(1);
    expect(eventLines(seen)).toEqual(['enumerator-added fake/bus', 'error listener later']);
  });
});

describe('error events', () => {
  it('carry what was thrown, whatever it was', () => {
    const events = new Events();
    const seen: FrameworkEvent[] = [];
    events.on((e) => void seen.push(e));
    const error = new TypeError('x is not a function');
    events.error('driver d', error);
    events.error('driver d', 'a string');
    expect(seen).toEqual([
      { type: 'error', source: 'driver d', error },
      { type: 'error', source: 'driver d', error: new Error('a string') },
    ]);
  });
});
