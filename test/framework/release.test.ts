import { describe, expect, it } from 'vitest';
import { DeviceError } from '../../lib/errors.ts';
import {
  codeOf,
  deferred,
  eventLines,
  FakeDriver,
  hang,
  makeWorld,
  refusal,
  rejection,
  sleep,
} from '../fakes/framework.ts';

/** A started world with a bound and started port at `a`. The journal begins empty. */
async function bound(options: Parameters<typeof makeWorld>[0] = {}) {
  const world = makeWorld(options);
  await world.framework.start();
  const pktio = world.driver.pktios[0]!;
  const devio = world.io.opened[0]!;
  await pktio.start();
  world.journal.length = 0;
  world.events.length = 0;
  return { ...world, pktio, devio, device: world.at('a') };
}

describe('unbinding in order', () => {
  it('the workers leave, the port is stopped and closed, the devio is closed', async () => {
    const seen: string[] = [];
    const world = await bound({
      onQuiesce: async (device) => {
        seen.push(`${device.state} ${device.pktio?.state}`);
        world.journal.push('quiesce');
      },
    });
    await world.framework.unbind(world.device);
    expect(world.journal).toEqual(['quiesce', 'pktio:stop', 'pktio:close', 'devio:close']);
    // The engine still sees the port that it is to leave.
    expect(seen).toEqual(['unbinding started']);
    expect(eventLines(world.events)).toEqual(['device-unbound fake/bus/a']);
    expect([world.device.state, world.device.driver, world.device.pktio]).toEqual(['unbound', undefined, undefined]);
    expect(world.devio.forces).toBe(0);
  });

  it('each step waits for the one before it', async () => {
    const gate = deferred();
    const world = await bound({ onQuiesce: () => gate.promise, unbindDeadlineMs: 1000 });
    const done = world.framework.unbind(world.device);
    await sleep(5);
    expect([world.journal, world.device.state]).toEqual([[], 'unbinding']);
    gate.resolve();
    await done;
    expect(world.device.state).toBe('unbound');
  });

  it('a port that was never started is not stopped, only closed', async () => {
    const world = await bound();
    world.pktio.state = 'stopped';
    await world.framework.unbind(world.device);
    expect(world.journal).toEqual(['pktio:close', 'devio:close']);
  });
});

describe('unbinding by request', () => {
  it('leaves the device unbound, whatever is registered later, until bind', async () => {
    const world = await bound();
    await world.framework.unbind(world.device);
    world.framework.registerDriver(new FakeDriver({ name: 'next' }));
    await world.framework.settled();
    expect(world.device.state).toBe('unbound');
    expect(world.framework.explain(world.device).summary).toBe(
      'fake/bus/a was unbound by request and stays so until bind()',
    );
    await world.framework.bind(world.device);
    expect(world.device.driver).toBe('driver');
  });

  it('does nothing twice, and nothing to a device that has been removed', async () => {
    const world = await bound();
    await Promise.all([world.framework.unbind(world.device), world.framework.unbind(world.device)]);
    await world.bus.unplug('a');
    await world.framework.unbind(world.device);
    expect([world.pktio.closes, world.devio.closes]).toEqual([1, 1]);
  });

  it('refuses a device of another framework, and a deadline that is none', async () => {
    const world = await bound();
    const other = await bound();
    expect(refusal(() => void world.framework.unbind(other.device))).toBe('UNKNOWN_DEVICE');
    expect(refusal(() => void world.framework.unbind(world.device, { deadlineMs: -1 }))).toBe('BAD_DEADLINE');
    expect([world.device.state, other.device.state]).toEqual(['bound', 'bound']);
  });
});

describe('defect 54: unbinding that is late, fails or never ends', () => {
  it('late but in time: not forced', async () => {
    const world = await bound({ unbindDeadlineMs: 1000 });
    world.pktio.onStop = () => sleep(5);
    world.io.onClose = () => sleep(5);
    await world.framework.unbind(world.device);
    expect([world.device.state, world.devio.forces]).toEqual(['unbound', 0]);
  });

  it('workers that never leave: the device is forced, then everything is closed', async () => {
    const world = await bound({ onQuiesce: hang });
    await world.framework.unbind(world.device, { deadlineMs: 5 });
    expect(world.journal).toEqual(['devio:force', 'pktio:close', 'devio:close']);
    expect(world.device.state).toBe('unbound');
    expect(eventLines(world.events)).toEqual([
      'error device fake/bus/a CALLBACK_TIMEOUT',
      'error device fake/bus/a CALLBACK_TIMEOUT',
      'error device fake/bus/a UNBIND_FORCED',
      'device-unbound fake/bus/a',
    ]);
  });

  it('a stop that never ends: forced, then closed', async () => {
    const world = await bound();
    world.pktio.onStop = hang;
    await world.framework.unbind(world.device, { deadlineMs: 5 });
    expect(world.journal).toEqual(['pktio:stop', 'devio:force', 'pktio:close', 'devio:close']);
    expect(world.device.state).toBe('unbound');
  });

  it('a stop that ends once the device is forced is waited for', async () => {
    const world = await bound({ forceDeadlineMs: 1000 });
    const stopped = deferred();
    world.pktio.onStop = () => stopped.promise;
    world.io.onForce = () => stopped.resolve();
    await world.framework.unbind(world.device, { deadlineMs: 5 });
    expect(world.pktio.state).toBe('closed');
    expect(eventLines(world.events).filter((line) => line.includes('TIMEOUT'))).toHaveLength(1);
  });

  it('a close that never ends: the devio is closed all the same', async () => {
    const world = await bound();
    world.pktio.onClose = hang;
    await world.framework.unbind(world.device, { deadlineMs: 100 }); // more than the stop before it ever takes
    expect(world.journal).toEqual(['pktio:stop', 'pktio:close', 'devio:force', 'devio:close']);
    expect([world.device.state, world.pktio.closes, world.devio.closes]).toEqual(['unbound', 1, 1]);
  });

  it('one deadline holds for all steps together', async () => {
    const world = await bound({ onQuiesce: () => sleep(30) });
    world.pktio.onStop = () => sleep(30);
    await world.framework.unbind(world.device, { deadlineMs: 40 });
    expect(world.devio.forces).toBe(1);
  });

  it('a deadline of 0 forces at once, and takes the steps all the same', async () => {
    const world = await bound({ onQuiesce: () => void world.journal.push('quiesce') });
    await world.framework.unbind(world.device, { deadlineMs: 0 });
    expect(world.journal).toEqual(['devio:force', 'quiesce', 'pktio:close', 'devio:close']);
  });

  it.each(['quiesce', 'stop', 'close'])('a failing %s: reported, forced, everything else closed', async (step) => {
    const fails = () => Promise.reject(new Error(`no ${step}`));
    const world = await bound({ onQuiesce: () => (step === 'quiesce' ? fails() : undefined) });
    if (step === 'stop') world.pktio.onStop = fails;
    if (step === 'close') world.pktio.onClose = fails;
    await world.framework.unbind(world.device);
    expect([world.pktio.closes, world.devio.closes, world.devio.forces]).toEqual([1, 1, 1]);
    expect(world.device.state).toBe('unbound');
    const source = step === 'quiesce' ? 'device fake/bus/a' : 'driver driver';
    expect(eventLines(world.events)).toEqual([
      `error ${source} no ${step}`,
      'error device fake/bus/a UNBIND_FORCED',
      'device-unbound fake/bus/a',
    ]);
  });

  it('every error of an unbinding carries the device', async () => {
    const world = await bound();
    world.pktio.onClose = () => Promise.reject(new Error('no'));
    await world.framework.unbind(world.device);
    const errors = world.events.filter((e) => e.type === 'error');
    expect(errors.map((e) => e.device)).toEqual([world.device, world.device]);
  });

  it('a devio that does not close: the device has failed, and the promise says so', async () => {
    const world = await bound();
    world.io.onClose = () => Promise.reject(new Error('EBUSY'));
    const error = await rejection(world.framework.unbind(world.device));
    expect(error).toBeInstanceOf(DeviceError);
    expect(codeOf(error)).toBe('UNBIND_FAILED');
    expect(error.message).toMatch(/^device fake\/bus\/a: it was not released: EBUSY; /);
    expect([world.device.state, world.device.driver]).toEqual(['failed', undefined]);
    expect(eventLines(world.events)).toEqual(['error devio fake-io v1 (memory) EBUSY', 'device-failed fake/bus/a']);
  });

  it('a devio whose close never ends: forced, waited for once more, failed', async () => {
    const world = await bound();
    world.io.onClose = hang;
    expect(codeOf(await rejection(world.framework.unbind(world.device, { deadlineMs: 5 })))).toBe('UNBIND_FAILED');
    expect([world.device.state, world.devio.closes, world.devio.forces]).toEqual(['failed', 1, 1]);
  });

  it('a force that fails: the device may be running still, so it has failed; the devio is closed', async () => {
    const world = await bound({ onQuiesce: hang });
    world.io.onForce = () => Promise.reject(new Error('reset does nothing'));
    const error = await rejection(world.framework.unbind(world.device, { deadlineMs: 5 }));
    expect(error.message).toContain('reset does nothing');
    expect([world.device.state, world.devio.closes, world.pktio.closes]).toEqual(['failed', 1, 1]);
  });

  it('a devio without force is closed', async () => {
    const world = await bound({ onQuiesce: hang });
    Object.assign(world.devio, { force: undefined });
    await world.framework.unbind(world.device, { deadlineMs: 5 });
    expect([world.device.state, world.devio.closes]).toEqual(['unbound', 1]);
  });

  it('one that nobody awaits ends no process: its failure is an event', async () => {
    const world = await bound();
    world.io.onClose = () => Promise.reject(new Error('EBUSY'));
    void world.framework.unbind(world.device);
    await world.framework.settled();
    await sleep(1);
    expect(world.device.state).toBe('failed');
  });
});
