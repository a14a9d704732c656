import { describe, expect, test } from 'vitest';
import { type Seen, statusLines } from '../../lib/cli/status-text.ts';
import { RegistryError } from '../../lib/errors.ts';
import type { Attempt, Device, DeviceDetails } from '../../lib/framework/types.ts';

const framework = { drivers: () => [], devios: () => [], enumerators: () => [], classes: () => [] };
const api = { name: 'devio-x', version: 2 };
const attempt = (stage: Attempt['stage'], reason: string): Attempt => ({
  driver: 'd',
  driverVersion: '1.2.3',
  devio: 'devio-x v2',
  backend: 'b',
  stage,
  reason,
});

function device(
  id: string,
  state: Device['state'],
  attempts: readonly Attempt[] = [],
  details: DeviceDetails = {},
): Seen {
  const bound =
    state === 'bound' ? { driver: 'd', devio: { api, backend: 'b' } } : { driver: undefined, devio: undefined };
  const view = {
    id,
    address: id,
    enumerator: { name: 'e', class: 'c', api },
    facts: {},
    state,
    pktio: undefined,
    ...bound,
  };
  return {
    device: view as Device,
    explanation: { device: id, state, summary: `${id} is ${state}`, attempts },
    details,
  };
}

const lines = (...explanations: ReturnType<typeof device>[]) => statusLines({ explanations, asked: [], framework });

describe('the status as text', () => {
  test('says how devices come to exist when there is none', () => {
    expect(lines().slice(0, 2)).toEqual([
      'Devices: none',
      '  some exist once they are asked for: linecard status PORT…',
    ]);
  });

  test('has a line per device, and why it is as it is', () => {
    expect(lines(device('c/e/1', 'bound'), device('c/e/22', 'unbound')).slice(0, 6)).toEqual([
      'Devices',
      '  Device  State    Driver  Devio',
      '  c/e/1   bound    d       devio-x v2',
      '  c/e/22  unbound  -       -',
      '',
      'c/e/1 is bound',
    ]);
  });

  test('lists the attempts when there were several, but not what was never meant for the device', () => {
    const attempts = [
      attempt('class', 'no'),
      attempt('enumerator-api', 'no'),
      attempt('usable', 'not loaded'),
      attempt('probe', 'too old'),
    ];
    const text = lines(device('c/e/1', 'unbound', attempts));
    expect(text.filter((line) => line.startsWith('  d 1.2.3'))).toEqual([
      '  d 1.2.3 through devio-x v2 (b): usable: not loaded',
      '  d 1.2.3 through devio-x v2 (b): probe: too old',
    ]);
  });

  test('does not repeat a single attempt, which the summary is about', () => {
    expect(lines(device('c/e/1', 'unbound', [attempt('probe', 'too old')])).join('\n')).not.toContain('too old');
  });

  test('says once what holds for several devices', () => {
    const waiting = (id: string): Seen => {
      const seen = device(id, 'unbound');
      const summary = `${id} is not bound: nobody asked for it: open xdp:${id}`;
      return { ...seen, explanation: { ...seen.explanation, summary } };
    };
    const text = lines(device('c/e/9', 'bound'), ...['a', 'b', 'c', 'd'].map(waiting)).join('\n');
    expect(text).toContain(
      ['', 'c/e/9 is bound', '4 devices (a, b, c, …) are not bound: nobody asked for it: open xdp:NAME', ''].join('\n'),
    );
    expect(lines(waiting('a'))).toContain('a is not bound: nobody asked for it: open xdp:a');
  });

  test('fits into 80 columns whatever drivers are for and ports are called', () => {
    const text = statusLines({
      explanations: [],
      asked: [],
      framework: {
        ...framework,
        drivers: () => [
          {
            ...{ name: 'virtio-net', version: '1.0.0', priority: 0, enumeratorClasses: ['pci'], devios: [api] },
            ids: [4096, 4161].map((id) => ({ kind: 'pci', vendor: 0x1af4, device: id })),
          },
        ],
        enumerators: () => [
          {
            name: 'e',
            class: 'c',
            version: '1.0.0',
            api,
            state: 'running',
            portNames: `x:NAME${'[,some=OPTION]'.repeat(9)}`,
          },
        ],
      } as unknown as Parameters<typeof statusLines>[0]['framework'],
    });
    expect(text.join('\n')).toContain('for pci kind=pci vendor=0x1af4 device=0x1000 | ');
    expect(text.join(' ')).toContain('through devio-x v2');
    for (const line of text) expect(line.length).toBeLessThan(80);
  });

  test('of a device that was refused and has gone there is only the error', () => {
    const error = new RegistryError('X', { what: 'port p', why: 'no', fix: 'yes' });
    const text = statusLines({
      explanations: [device('c/e/1', 'removed', [attempt('probe', 'no')])],
      asked: [{ name: 'p', error }, { name: 'q' }],
      framework,
    });
    expect(text).toContain('linecard: port p: no; yes [X]');
    expect(text.join('\n')).not.toContain('c/e/1');
  });

  describe('of network interfaces', () => {
    const details = {
      ...{ driver: 'veth', kind: 'veth', state: 'no-carrier', mtu: 65_535, mac: '02:00:00:00:00:01' },
      ...{ addresses: ['10.0.0.1/24', 'fe80::1234:5678:9abc:def0/64', 'fd00:1234:5678:9abc:def0:1234:5678:9abc/64'] },
      ...{ rxQueues: 16, txQueues: 8, xdp: 'generic', xdpProgram: 12, xdpOwner: 'process 812, suricata' },
      defaultRoute: true,
    };
    const link = (name: string, more: DeviceDetails = {}): Seen => {
      const seen = device(name, 'unbound', [], { ...details, ...more });
      return { ...seen, device: { ...seen.device, enumerator: { ...seen.device.enumerator, class: 'netdev' } } };
    };
    const shown = (...links: Seen[]) => {
      const text = lines(...links);
      const from = text.indexOf('Network interfaces');
      return text.slice(from, text.indexOf('', from));
    };

    test('has state, queues, driver, addresses, default route and XDP, and whose that is', () => {
      expect(
        shown(link('interface-name0'), link('b', { xdp: 'none', defaultRoute: false, addresses: [], rxQueues: 8 })),
      ).toEqual([
        'Network interfaces',
        '  Interface        State         MTU  Driver  Queues      XDP',
        '  interface-name0  no-carrier  65535  veth    16 rx 8 tx  generic',
        '    default route, MAC 02:00:00:00:00:01, 10.0.0.1/24,',
        '      fe80::1234:5678:9abc:def0/64, fd00:1234:5678:9abc:def0:1234:5678:9abc/64',
        '    XDP program 12: process 812, suricata',
        '  b                no-carrier  65535  veth    8           none',
        '    MAC 02:00:00:00:00:01, no addresses',
      ]);
    });

    test('fits into 80 columns', () => {
      const widest = link('interface-name0', {
        driver: 'a-very-long-driver',
        xdp: 'hardware',
        rxQueues: 128,
        txQueues: 64,
      });
      for (const line of shown(widest)) expect(line.length).toBeLessThan(80);
    });

    test('is not there without interfaces', () => {
      expect(lines(device('c/e/1', 'bound'))).not.toContain('Network interfaces');
    });
  });

  test('what a port notes is below, in words of the command line', () => {
    const notes = [{ port: 'xdp:a', text: 'a has 2 queues' }];
    expect(statusLines({ explanations: [], asked: [{ name: 'xdp:a', notes }], framework })).toContain('a has 2 queues');
  });
});
