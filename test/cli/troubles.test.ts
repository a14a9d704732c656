import { EventEmitter } from 'node:events';
import { describe, expect, test } from 'vitest';
import type { StopReason } from '../../lib/cli/stopping.ts';
import { Troubles } from '../../lib/cli/troubles.ts';
import type { Run } from '../../lib/engine/run.ts';
import type { LinkInfo, Pktio, PortState } from '../../lib/pktio/types.ts';

class FakePort extends EventEmitter {
  readonly name: string;
  state: PortState = 'started';

  constructor(name: string) {
    super();
    this.name = name;
  }
}

function make() {
  const told: string[] = [];
  const asked: StopReason[] = [];
  const display = {
    happened: (event: string, subject: string | number, text: string, error?: Error) => {
      told.push([event, subject, text, error?.message].filter((part) => part !== undefined && part !== '').join(' | '));
    },
  };
  const troubles = new Troubles(display, { request: (reason: StopReason) => void asked.push(reason) });
  const ports = [new FakePort('a'), new FakePort('b')];
  troubles.watchPorts(ports as unknown as Pktio[]);
  const run = new EventEmitter();
  troubles.watchRun(run as unknown as Run);
  return { told, asked, troubles, ports, run };
}

const down: LinkInfo = {
  status: 'down',
  speed: 0,
  duplex: 'unknown',
  autoneg: false,
  media: '',
  reason: 'cable pulled',
};

describe('what goes wrong', () => {
  test('a port that cannot go on is told, and asks for the end', () => {
    const { told, asked, ports } = make();
    ports[0].emit('error', new Error('disk full'), true);
    expect(told).toEqual(['port-error | a | disk full']);
    expect(asked).toEqual(['port-failed']);
  });

  test('one that survives is told, and the run goes on', () => {
    const { told, asked, ports } = make();
    ports[0].emit('error', new Error('cut off'), false);
    expect(told).toEqual(['port-error | a | cut off']);
    expect(asked).toEqual([]);
  });

  test('the same error is told once, whoever reports it', () => {
    const { told, troubles, ports, run } = make();
    const error = new Error('disk full');
    ports[0].emit('error', error, true);
    run.emit('port-error', 'a', error, true);
    troubles.tellRest({ errors: [error, new Error('flush failed')] });
    expect(told).toEqual(['port-error | a | disk full', 'error | flush failed']);
  });

  test('a failure of the run that only it reports asks for the end as well', () => {
    const { asked, run } = make();
    run.emit('port-error', 'a', new Error('flush failed'), true);
    expect(asked).toEqual(['port-failed']);
  });

  test('jobs and workers: what failed, when it is tried again, and that it runs again', () => {
    const { told, asked, run } = make();
    run.emit('job-failed', 2, new Error('boom'), 100);
    run.emit('job-restarted', 2);
    run.emit('worker-failed', 1, new Error('hangs'), 1500);
    run.emit('worker-restarted', 1);
    expect(told).toEqual([
      'job-failed | 2 | job 2 is started again in 0.1 s | boom',
      'job-restarted | 2 | job 2 runs again',
      'worker-failed | 1 | worker 1 is started again in 1.5 s | hangs',
      'worker-restarted | 1 | worker 1 runs again',
    ]);
    expect(asked).toEqual([]);
  });
});

describe('links', () => {
  test('that change are told, with the reason', () => {
    const { told, ports } = make();
    ports[1].emit('link', down);
    ports[1].emit('link', { status: 'up', speed: 10_000, duplex: 'full', autoneg: true, media: 'fibre' });
    expect(told).toEqual(['link-down | b | port b: link is down (cable pulled)', 'link-up | b | port b: link is up']);
  });

  test.each(['stopped', 'starting', 'stopping', 'closed'] as const)('are no news while any port is %s', (state) => {
    const { told, ports } = make();
    ports[0].state = state;
    ports[1].emit('link', down);
    expect(told).toEqual([]);
  });
});
