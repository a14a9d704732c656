import { describe, expect, it, vi } from 'vitest';
import { counterBytes, makeCounters } from '../../lib/arena/counters.ts';
import { memoryCapability, memoryLink, planQueue, times } from '../../lib/pktio/memory-port.ts';
import { Port } from '../../lib/pktio/port.ts';
import type {
  LinkInfo,
  PortConfig,
  PortDevice,
  PortEvents,
  PortState,
  QueueHandle,
  Queues,
} from '../../lib/pktio/types.ts';
import { RX, TX } from '../../lib/queue.ts';
import { codeOf, thrown } from '../fakes/errors.ts';
import { rejection } from '../fakes/framework.ts';
import { fakeDevio } from '../fakes/memory-devio.ts';

const DEFAULTS: PortConfig = {
  rxQueues: 2,
  txQueues: 1,
  rxRing: 0,
  txRing: 256,
  mtu: 1500,
  promiscuous: true,
  mac: '02:00:00:00:00:01',
};

/** A device that notes what it is asked, and does what the test tells it to. */
class FakeDevice implements PortDevice {
  readonly driver = 'fake';
  readonly capability = memoryCapability;
  readonly defaults = DEFAULTS;
  readonly devio = fakeDevio();
  readonly calls: string[] = [];
  /** By call: what it does besides being noted. */
  readonly does: Record<string, (() => unknown) | undefined> = {};
  events: PortEvents | undefined;
  queues: Queues = { rx: [], tx: [] };

  attach(events: PortEvents): void {
    this.events = events;
  }

  async setup(config: PortConfig): Promise<Queues> {
    await this.note('setup');
    const make =
      (direction: 'rx' | 'tx') =>
      (queue: number): QueueHandle => ({
        plan: planQueue(this.devio, config, { port: 'fake', direction, queue, module: '', data: {} }),
        held: () => [],
        settle: () => {},
        clear: () => this.note(`clear ${direction} ${queue}`),
      });
    this.queues = { rx: times(config.rxQueues, make('rx')), tx: times(config.txQueues, make('tx')) };
    return this.queues;
  }

  async teardown(): Promise<void> {
    for (const { plan } of [...this.queues.rx, ...this.queues.tx]) this.devio.free(plan.counters);
    this.queues = { rx: [], tx: [] };
    await this.note('teardown');
  }

  async close(): Promise<void> {
    await this.note('close');
  }

  async flush(): Promise<void> {
    await this.note('flush');
  }

  link = (): LinkInfo => memoryLink();

  private note(call: string): unknown {
    this.calls.push(call);
    return this.does[call]?.();
  }
}

function makePort(): { port: Port; device: FakeDevice } {
  const device = new FakeDevice();
  return { port: new Port('fake:0', device.devio.memory, device), device };
}

const fail = (what: string) => () => {
  throw new Error(what);
};

/** A promise that the test resolves. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Counts `n` packets of 100 bytes in queue `queue`, as its worker would. */
function countPackets(device: FakeDevice, direction: 'rx' | 'tx', queue: number, n: number): void {
  const count = makeCounters(device.devio.memory, device.queues[direction][queue]!.plan.counters);
  count(RX.packets, n);
  count(RX.bytes, n * 100);
  if (direction === 'tx') count(TX.completed, n);
}

describe('a port', () => {
  it("begins stopped, without queues, with its device's settings", () => {
    const { port, device } = makePort();
    expect(port).toMatchObject({ name: 'fake:0', driver: 'fake', state: 'stopped', mtu: 1500, finished: false });
    expect(port.config).toEqual(DEFAULTS);
    expect(port.capability).toBe(device.capability);
    expect([...port.mac]).toEqual([2, 0, 0, 0, 0, 1]);
    expect(port.queues).toEqual({ rx: [], tx: [] });
    expect(port.stats()).toEqual({ rx: {}, tx: {} });
    expect(port.link()).toMatchObject({ status: 'up', media: 'memory' });
    expect(device.calls).toEqual([]);
  });

  it('starts, stops and starts again, each time with queues made anew', async () => {
    const { port, device } = makePort();
    await port.start();
    expect(port.state).toBe('started');
    expect([port.queues.rx.length, port.queues.tx.length]).toEqual([2, 1]);
    await port.stop();
    expect(port.state).toBe('stopped');
    expect(port.queues).toEqual({ rx: [], tx: [] });
    port.configure({ rxQueues: 1, txQueues: 3 });
    await port.start();
    expect([port.queues.rx.length, port.queues.tx.length]).toEqual([1, 3]);
    await port.close();
    const stops = ['flush', 'clear tx 0', 'teardown'];
    expect(device.calls).toEqual([
      'setup',
      ...stops,
      'setup',
      'flush',
      'clear tx 0',
      'clear tx 1',
      'clear tx 2',
      'teardown',
      'close',
    ]);
    expect(device.devio.allocated.size).toBe(0);
  });

  it('is starting and stopping meanwhile', async () => {
    const { port } = makePort();
    const states: PortState[] = [];
    const start = port.start();
    states.push(port.state);
    await start;
    const stop = port.stop();
    states.push(port.state);
    await stop;
    expect(states).toEqual(['starting', 'stopping']);
  });

  const refusals: [PortState, readonly string[]][] = [
    ['stopped', ['stop']],
    ['starting', ['start', 'stop', 'configure', 'set mac', 'set promiscuous']],
    ['started', ['start', 'configure', 'set mac']],
    ['stopping', ['start', 'stop', 'configure', 'set mac', 'set promiscuous']],
    ['closed', ['start', 'stop', 'configure', 'set mac', 'set promiscuous']],
  ];
  it.each(refusals)('while %s refuses %j, and changes nothing', async (state, actions) => {
    const { port, device } = makePort();
    const { opened, open } = gate();
    if (state === 'starting') device.does.setup = () => opened;
    if (state === 'stopping') device.does.teardown = () => opened;
    let pending: Promise<void> = Promise.resolve();
    if (state !== 'stopped') pending = port.start();
    if (state !== 'stopped' && state !== 'starting') await pending;
    if (state === 'stopping') pending = port.stop();
    if (state === 'closed') await port.close();
    expect(port.state).toBe(state);
    const before = [...device.calls];
    const tries: Record<string, () => unknown> = {
      start: () => port.start(),
      stop: () => port.stop(),
      configure: () => port.configure({ mtu: 1400 }),
      'set mac': () => port.setMac('02:00:00:00:00:09'),
      'set promiscuous': () => port.setPromiscuous(true),
    };
    for (const action of actions) {
      const error = await rejection((async () => tries[action]!())());
      expect(error, action).toMatchObject({ code: 'WRONG_STATE', detail: { port: 'fake:0', state } });
      expect(error.message).toMatch(
        new RegExp(`port fake:0: it is ${state}; do it while the port is (stopped|started|stopped or started)$`),
      );
    }
    expect(port.state).toBe(state);
    expect(port.config).toEqual(DEFAULTS);
    open();
    await pending;
    expect(device.calls.slice(0, before.length)).toEqual(before);
    await port.close();
  });

  it('whose setup fails is stopped, has released what was made, and can be started again', async () => {
    const { port, device } = makePort();
    device.does.setup = fail('no ring memory');
    device.does.teardown = fail('nor this');
    expect((await rejection(port.start())).message).toBe('no ring memory');
    expect(port.state).toBe('stopped');
    expect(device.calls).toEqual(['setup', 'teardown']);
    delete device.does.setup;
    delete device.does.teardown;
    await port.start();
    expect(port.state).toBe('started');
    await port.close();
  });

  it.each(['flush', 'clear tx 0', 'teardown'])(
    'whose %s fails is stopped all the same: all steps are taken, the first error is told',
    async (step) => {
      const { port, device } = makePort();
      await port.start();
      countPackets(device, 'tx', 0, 5);
      device.does[step] = fail(`${step} failed`);
      if (step !== 'teardown') device.does.teardown = fail('this came later');
      expect((await rejection(port.stop())).message).toBe(`${step} failed`);
      expect(port.state).toBe('stopped');
      expect(device.calls).toEqual(['setup', 'flush', 'clear tx 0', 'teardown']);
      expect(port.queues).toEqual({ rx: [], tx: [] });
      expect(port.stats().tx.packets).toBe(5n);
      expect(device.devio.allocated.size).toBe(0);
      delete device.does[step];
      delete device.does.teardown;
      await port.start();
      await port.close();
    },
  );
});

describe('closing a port', () => {
  it('stops it first, closes the device once, and is told to all who ask at once', async () => {
    const { port, device } = makePort();
    await port.start();
    const { opened, open } = gate();
    device.does.close = () => opened;
    const [first, second] = [port.close(), port.close()] as const;
    let done = false;
    void second.then(() => {
      done = true;
    });
    await new Promise(setImmediate);
    expect(done).toBe(false);
    open();
    await Promise.all([first, second, port.close()]);
    expect(port.state).toBe('closed');
    expect(device.calls.filter((call) => call === 'close')).toHaveLength(1);
    expect(device.calls.slice(-2)).toEqual(['teardown', 'close']);
  });

  it('while it starts waits for that, so that nothing stays behind', async () => {
    const { port, device } = makePort();
    const { opened, open } = gate();
    device.does.setup = () => opened;
    const start = port.start();
    const close = port.close();
    open();
    await Promise.all([start, close]);
    expect(port.state).toBe('closed');
    expect(device.calls).toEqual(['setup', 'flush', 'clear tx 0', 'teardown', 'close']);
    expect(device.devio.allocated.size).toBe(0);
  });

  it('while it stops, or fails to start, waits for that too', async () => {
    const { port, device } = makePort();
    await port.start();
    const stop = port.stop();
    await Promise.all([stop, port.close()]);
    expect(device.calls.filter((call) => call === 'teardown')).toHaveLength(1);

    const other = makePort();
    other.device.does.setup = fail('no');
    const failing = rejection(other.port.start());
    await other.port.close();
    expect((await failing).message).toBe('no');
    expect(other.port.state).toBe('closed');
  });

  it('closes the device also when stopping fails, and tells that', async () => {
    const { port, device } = makePort();
    await port.start();
    device.does.teardown = fail('it hangs');
    device.does.close = fail('this too');
    expect((await rejection(port.close())).message).toBe('it hangs');
    expect(port.state).toBe('closed');
    expect(device.calls.at(-1)).toBe('close');
  });

  it('tells when the device cannot be closed', async () => {
    const { port, device } = makePort();
    device.does.close = fail('it is stuck');
    expect((await rejection(port.close())).message).toBe('it is stuck');
    expect(port.state).toBe('closed');
  });

  it('keeps the statistics', async () => {
    const { port, device } = makePort();
    await port.start();
    countPackets(device, 'rx', 1, 3);
    await port.close();
    expect(port.stats().rx).toEqual({ packets: 3n, bytes: 300n, extra_frames: 0n });
  });
});

describe('making the queues of a port anew', () => {
  it('sets the device up again with the same settings, and counters go on, queue by queue', async () => {
    const { port, device } = makePort();
    port.configure({ txQueues: 2 });
    await port.start();
    countPackets(device, 'rx', 1, 3);
    const before = port.queues;
    device.calls.length = 0;
    await port.renew();
    expect(device.calls).toEqual(['flush', 'clear tx 0', 'clear tx 1', 'teardown', 'setup']);
    expect([port.state, port.config.txQueues]).toEqual(['started', 2]);
    expect(port.queues.rx[1]).not.toBe(before.rx[1]);
    countPackets(device, 'rx', 1, 4);
    expect(port.queueStats('rx', 1).packets).toBe(7n);
    expect(port.queueStats('rx', 0).packets).toBe(0n);
    expect(port.stats().rx.packets).toBe(7n);
    await port.close();
    expect(device.devio.allocated.size).toBe(0);
  });

  it('is for one that is started; if it fails the port is stopped, and can be started', async () => {
    const { port, device } = makePort();
    expect(await rejection(port.renew())).toMatchObject({ code: 'WRONG_STATE' });
    await port.start();
    device.does.setup = fail('no');
    expect((await rejection(port.renew())).message).toBe('no');
    expect(port.state).toBe('stopped');
    device.does.setup = undefined;
    await port.start();
    await port.close();
  });

  it('is what its device asks for', async () => {
    const { port, device } = makePort();
    const asked: Error[] = [];
    port.on('stuck', (why) => asked.push(why));
    const why = new Error('no use any more');
    device.events!.stuck(why);
    expect(asked).toEqual([why]);
  });
});

describe('statistics of a port', () => {
  it('are sums over its queues, each of which can be looked at', async () => {
    const { port, device } = makePort();
    await port.start();
    countPackets(device, 'rx', 0, 1);
    countPackets(device, 'rx', 1, 2);
    countPackets(device, 'tx', 0, 4);
    expect(port.stats()).toEqual({
      rx: { packets: 3n, bytes: 300n, extra_frames: 0n },
      tx: { packets: 4n, bytes: 400n, completed: 4n, runt: 0n, oversize: 0n, stopped: 0n, extra_frames: 0n },
    });
    expect(port.queueStats('rx', 1)).toEqual({ packets: 2n, bytes: 200n, extra_frames: 0n });
    await port.close();
  });

  it('never go back when it is stopped and started', async () => {
    const { port, device } = makePort();
    for (let round = 1; round <= 4; round++) {
      await port.start();
      expect(port.stats().rx.packets ?? 0n).toBe(BigInt((round - 1) * 5));
      countPackets(device, 'rx', 0, 5);
      expect(port.stats().rx.packets).toBe(BigInt(round * 5));
      await port.stop();
      expect(port.stats().rx.packets).toBe(BigInt(round * 5));
    }
    await port.close();
  });

  it('are cleared by a baseline, started or not', async () => {
    const { port, device } = makePort();
    await port.start();
    countPackets(device, 'rx', 0, 5);
    port.clearStats();
    expect(port.stats().rx).toEqual({ packets: 0n, bytes: 0n, extra_frames: 0n });
    expect(port.queueStats('rx', 0).packets).toBe(5n); // the counter itself
    countPackets(device, 'rx', 0, 2);
    await port.stop();
    expect(port.stats().rx.packets).toBe(2n);
    port.clearStats();
    expect(port.stats().rx.packets).toBe(0n);
    await port.start();
    countPackets(device, 'rx', 1, 1);
    expect(port.stats().rx).toEqual({ packets: 1n, bytes: 100n, extra_frames: 0n });
    await port.close();
  });

  it('are of queues that exist', async () => {
    const { port } = makePort();
    expect(thrown(() => port.queueStats('rx', 0)).message).toBe(
      'port fake:0: rx queue 0: it has 0 of them, being stopped; start the port, with rxQueues above 0',
    );
    await port.start();
    expect(thrown(() => port.queueStats('tx', 1)).message).toBe(
      'port fake:0: tx queue 1: it has 1 of them; start the port, with txQueues above 1',
    );
    for (const queue of [-1, 0.5, Number.NaN]) expect(codeOf(() => port.queueStats('rx', queue))).toBe('NO_SUCH_QUEUE');
    await port.close();
  });

  it('have a counter for each name, eight bytes each', async () => {
    const { port, device } = makePort();
    await port.start();
    const { plan } = device.queues.tx[0]!;
    expect(plan.counterNames).toEqual(['packets', 'bytes', 'completed', 'runt', 'oversize', 'stopped', 'extra_frames']);
    const next = plan.counters + counterBytes(plan.counterNames.length);
    const others = [...device.queues.rx, ...device.queues.tx].map((queue) => queue.plan.counters);
    expect(others.every((at) => at <= plan.counters || at >= next)).toBe(true);
    await port.close();
  });
});

describe('events of a port', () => {
  it('are what its device reports', () => {
    const { port, device } = makePort();
    const heard: unknown[] = [];
    port.on('link', (link) => heard.push(link.status));
    port.on('error', (error, fatal) => heard.push(error.message, fatal));
    port.on('wake', () => heard.push('wake'));
    device.events?.link({ ...memoryLink(), status: 'down' });
    device.events?.error(new Error('x'), true);
    device.events?.wake();
    expect(heard).toEqual(['down', 'x', true, 'wake']);
  });

  it('that nobody listens to do no harm', async () => {
    const { port, device } = makePort();
    device.events?.error(new Error('x'), false);
    const listener = () => {};
    port.on('error', listener);
    port.off('error', listener);
    device.events?.error(new Error('x'), false);
    await port.close();
    device.events?.error(new Error('x'), false);
    device.events?.link(memoryLink());
  });

  it('are no longer told after it was closed', async () => {
    const { port, device } = makePort();
    const listener = vi.fn();
    port.on('error', listener);
    port.on('link', listener);
    device.does.close = () => device.events?.error(new Error('at the last moment'), false);
    await port.close();
    expect(listener).toHaveBeenCalledTimes(1);
    device.events?.error(new Error('too late'), false);
    device.events?.link(memoryLink());
    expect(listener).toHaveBeenCalledTimes(1);
  });

  it('come once to a listener that wants one', () => {
    const { port, device } = makePort();
    const listener = vi.fn();
    port.once('link', listener);
    device.events?.link(memoryLink());
    device.events?.link(memoryLink());
    expect(listener).toHaveBeenCalledTimes(1);
  });

  it('whose listener throws come back neither into the device nor into other listeners', async () => {
    const { port, device } = makePort();
    const uncaught = vi.fn();
    const before = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', uncaught);
    const listener = vi.fn();
    port.on('link', fail('my mistake'));
    port.on('link', listener);
    device.events?.link(memoryLink());
    expect(listener).toHaveBeenCalledTimes(1);
    await new Promise(setImmediate);
    process.removeAllListeners('uncaughtException');
    for (const handler of before) process.on('uncaughtException', handler);
    expect(uncaught).toHaveBeenCalledTimes(1);
    expect(uncaught.mock.calls[0]?.[0]).toMatchObject({ message: 'my mistake' });
  });
});

describe('promiscuous mode', () => {
  it('is set at once, if the device can, and then is the setting', async () => {
    const device = Object.assign(new FakeDevice(), {
      capability: { ...memoryCapability, setPromiscuous: true },
      setPromiscuous: vi.fn(),
    });
    const port = new Port('fake:0', device.devio.memory, device);
    port.setPromiscuous(false);
    await port.start();
    port.setPromiscuous(true);
    expect(device.setPromiscuous.mock.calls).toEqual([[false], [true]]);
    expect(port.config.promiscuous).toBe(true);
    device.setPromiscuous.mockImplementationOnce(fail('the device refuses'));
    expect(() => port.setPromiscuous(false)).toThrow('the device refuses');
    expect(port.config.promiscuous).toBe(true);
    await port.close();
  });

  it('cannot be changed where the device cannot', () => {
    const { port } = makePort();
    expect(thrown(() => port.setPromiscuous(false))).toMatchObject({
      code: 'UNSUPPORTED_SETTING',
      message: 'port fake:0: setting promiscuous: this port is always promiscuous; leave it out',
    });
    port.setPromiscuous(true); // as it is
  });
});

describe('a port whose driver is exchanged', () => {
  const next = (device: FakeDevice, running = false) =>
    new Port('next', device.devio.memory, device, running ? { config: DEFAULTS, queues: device.queues } : undefined);

  it('goes on with the rings when the later release takes over what this one hands over', async () => {
    const { port, device } = makePort();
    await port.start();
    const later = new FakeDevice();
    const queues = await later.setup({ ...DEFAULTS, rxQueues: 1 });
    const handed = Object.assign(device, { handOver: () => ({ rings: 1 }) });
    const kept = await port.succeed({
      compatible: true,
      make: async (handover) => {
        expect(handover).toEqual({ state: { rings: 1 } });
        return next(later, true);
      },
    });
    expect([kept, port.state, port.queues, port.name]).toEqual([true, 'started', queues, 'fake:0']);
    expect([handed.calls, later.calls]).toEqual([['setup'], ['setup']]);
    await port.stop();
    expect(later.calls).toEqual(['setup', 'flush', 'clear tx 0', 'teardown']);
  });

  it('sets the device up anew otherwise: same settings, and counters that go on, by queue', async () => {
    const { port, device } = makePort();
    port.configure({ rxQueues: 1, mtu: 1400 });
    await port.start();
    countPackets(device, 'rx', 0, 5);
    const later = new FakeDevice();
    const kept = await port.succeed({ compatible: false, make: async () => next(later) });
    expect([kept, port.state]).toEqual([false, 'started']);
    expect(device.calls).toEqual(['setup', 'flush', 'clear tx 0', 'teardown', 'close']);
    expect(later.calls).toEqual(['setup']);
    expect(port.config).toMatchObject({ rxQueues: 1, mtu: 1400 });
    expect(port.queues.rx[0]!.before).toMatchObject({ packets: 5n, bytes: 500n });
  });

  it('sets it up anew, too, when it cannot be handed over now', async () => {
    const { port, device } = makePort();
    await port.start();
    Object.assign(device, { handOver: () => undefined });
    const later = new FakeDevice();
    expect(await port.succeed({ compatible: true, make: async () => next(later) })).toBe(false);
    expect([device.calls.at(-1), later.calls]).toEqual(['close', ['setup']]);
  });

  it('stays stopped when it was', async () => {
    const { port, device } = makePort();
    const later = new FakeDevice();
    await port.succeed({ compatible: true, make: async () => next(later) });
    expect([port.state, device.calls, later.calls]).toEqual(['stopped', ['close'], []]);
    await port.start();
    expect(later.calls).toEqual(['setup']);
  });

  it('hears the later release, and not the earlier one any more', async () => {
    const { port, device } = makePort();
    const links: string[] = [];
    port.on('link', ({ media }) => links.push(media));
    const later = new FakeDevice();
    await port.succeed({ compatible: false, make: async () => next(later) });
    device.events?.link({ ...memoryLink(), media: 'earlier' });
    later.events?.link({ ...memoryLink(), media: 'later' });
    later.events?.settings?.({ mtu: 1300 });
    expect([links, port.mtu]).toEqual([['later'], 1300]);
  });

  it('is refused what makes ports of another kind, and that is closed', async () => {
    const { port } = makePort();
    const other = { close: vi.fn(async () => {}) };
    const refused = await rejection(port.succeed({ compatible: false, make: async () => other as never }));
    expect(refused).toMatchObject({ code: 'NO_SUCCESSOR' });
    expect(other.close).toHaveBeenCalledOnce();
    expect(port.state).toBe('stopped');
  });

  it('is not exchanged while it is being started', async () => {
    const { port, device } = makePort();
    const { opened, open } = gate();
    device.does.setup = () => opened;
    const started = port.start();
    const refused = await rejection(port.succeed({ compatible: false, make: async () => port }));
    expect(refused).toMatchObject({ code: 'WRONG_STATE' });
    open();
    await started;
  });
});
