import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import type { XdpOptions } from '../../lib/devios/xsk.ts';
import { describeLink, NetdevTable, netdevClass } from '../../lib/enumerators/netdev.ts';
import { Framework } from '../../lib/framework/framework.ts';
import type { Link } from '../../lib/netlink/rtnetlink.ts';
import { FakeNetlink } from '../fakes/netlink.ts';

const running: Framework[] = [];
afterEach(async () => {
  for (const framework of running.splice(0)) await framework.stop();
});

async function start(kernel = new FakeNetlink()) {
  const table = new NetdevTable(kernel.native);
  const framework = new Framework();
  framework.registerClass(netdevClass(table));
  await framework.start();
  running.push(framework);
  const names = () => framework.devices().map(({ address }) => address);
  return { kernel, table, framework, names };
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i++) await sleep(5);
  expect(condition()).toBe(true);
}

test('Ethernet interfaces are devices, others are not', async () => {
  const kernel = new FakeNetlink();
  kernel.put({ index: 1, name: 'lo', type: 772 });
  kernel.put({ index: 2, name: 'eth0' });
  kernel.put({ index: 3, name: 'tun0', type: 65534 });
  const { framework, names } = await start(kernel);
  expect(names()).toEqual(['lo', 'eth0']);
  expect(framework.devices()[1]!.facts).toEqual({ kind: 'netdev', name: 'eth0', ifindex: 2, driver: '' });
});

test('Interfaces come, are renamed, and go', async () => {
  const { kernel, names } = await start();
  kernel.put({ index: 2, name: 'eth0' });
  await until(() => names().join() === 'eth0');
  kernel.put({ index: 2, name: 'wan' });
  await until(() => names().join() === 'wan');
  kernel.remove(2);
  await until(() => names().length === 0);
});

test('Whoever watches a link hears what changed, and why it went', async () => {
  const { kernel, table } = await start();
  for (const index of [2, 3, 4]) kernel.put({ index, name: `eth${index}` });
  await until(() => table.link(4) !== undefined);
  const heard: [number | undefined, string][] = [];
  for (const index of [2, 3, 4])
    table.watch(index, (link: Link | undefined, why: string) => heard.push([link?.mtu, why]));
  kernel.put({ index: 2, name: 'eth2', mtu: 9000 });
  kernel.remove(2);
  kernel.remove(3, { moved: true });
  kernel.put({ index: 4, name: 'wan' });
  await until(() => heard.length === 4);
  expect(heard).toEqual([
    [9000, ''],
    [undefined, 'it was deleted'],
    [undefined, 'it was moved to another network namespace'],
    [undefined, 'it was renamed to wan'],
  ]);
});

test('What the kernel could not tell, because too much happened at once, is read again', async () => {
  const { kernel, names } = await start();
  kernel.put({ index: 2, name: 'eth0' });
  kernel.put({ index: 3, name: 'eth1' });
  await until(() => names().length === 2);
  kernel.remove(2, { silent: true });
  kernel.put({ index: 4, name: 'eth2' });
  kernel.overflow = true;
  await until(() => names().join() === 'eth1,eth2');
});

test('An interface that was made a moment ago is found by name', async () => {
  const { kernel, table } = await start();
  kernel.put({ index: 2, name: 'eth0' });
  expect(table.want('xdp:eth0')).toBe('eth0');
});

test('Of two interfaces that were made a moment ago, the one that was come upon with the other can be asked for at once', async () => {
  const { kernel, framework } = await start();
  kernel.put({ index: 2, name: 'eth0' });
  kernel.put({ index: 3, name: 'eth1' });
  await expect(framework.request('xdp:eth0')).rejects.toMatchObject({ code: 'NOT_BOUND' });
  await expect(framework.request('xdp:eth1')).rejects.toMatchObject({ code: 'NOT_BOUND' });
});

test('An interface that was asked for is a device still when it is given back, and so are those found with it', async () => {
  const { kernel, framework, names, table } = await start();
  kernel.put({ index: 2, name: 'eth0' });
  kernel.put({ index: 3, name: 'eth1' });
  await expect(framework.request('xdp:eth0')).rejects.toMatchObject({ code: 'NOT_BOUND' });
  table.unwant(2);
  table.take(2);
  table.unwant(2);
  await until(() => names().toSorted().join() === 'eth0,eth1');
});

test('What a port name asks for is kept until it is over; a new wish replaces one that came to nothing', async () => {
  const kernel = new FakeNetlink();
  kernel.put({ index: 2, name: 'eth0' });
  const { table } = await start(kernel);
  table.want('xdp:eth0,queue=3,match=udp/53');
  expect(table.wanted(2)).toMatchObject({ firstQueue: 3, match: [{ kind: 'udp', port: 53 }], force: false });
  table.want('xdp:eth0,force=1,mode=skb,zero-copy=0,closed=1,busy-poll=1');
  const all: XdpOptions = {
    mode: 'skb',
    zeroCopy: false,
    firstQueue: 0,
    match: [],
    closed: true,
    busyPoll: true,
    force: true,
  };
  expect(table.take(2)).toEqual(all);
  table.want('xdp:eth0,queue=1');
  expect(table.wanted(2)).toEqual(all); // it is in use
  table.unwant(2);
  expect(table.wanted(2)).toBeUndefined();
  table.want('xdp:eth0,grant=/run/x.sock,match=udp/53');
  expect(table.wanted(2)).toMatchObject({ grant: { path: '/run/x.sock', match: 'udp/53' } });
});

test.each([
  ['xdp:eth9', 'NO_SUCH_INTERFACE', 'there is no interface "eth9"'],
  ['xdp:tun0', 'NO_SUCH_INTERFACE', 'carries no Ethernet frames'],
  ['xdp:', 'BAD_PORT_NAME', 'it names no interface'],
  ['xdp:eth0,mode=fast', 'BAD_PORT_NAME', 'there is no mode "fast"'],
  ['xdp:eth0,queue=256', 'BAD_PORT_NAME', 'queue=256 is not a whole number from 0 to 255'],
  ['xdp:eth0,closed=yes', 'BAD_PORT_NAME', 'closed=yes is neither 0 nor 1'],
  ['xdp:eth0,speed=1', 'BAD_PORT_NAME', 'it has no option "speed=1"'],
  ['xdp:eth0,grant=', 'BAD_PORT_NAME', 'grant= names no socket'],
  ['xdp:eth0,match=icmp', 'BAD_MATCH', 'there is no term "icmp"'],
])('%s is refused with %s', async (name, code, why) => {
  const kernel = new FakeNetlink();
  kernel.put({ index: 2, name: 'eth0' });
  kernel.put({ index: 3, name: 'tun0', type: 65534 });
  const { table } = await start(kernel);
  expect(() => table.want(name)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(why) }));
});

test('The interface of a default route is known, each time afresh', async () => {
  const kernel = new FakeNetlink();
  kernel.put({ index: 2, name: 'eth0' });
  const { table } = await start(kernel);
  expect(await table.carriesDefaultRoute(2)).toBe(false);
  kernel.routes = [2];
  expect(await table.carriesDefaultRoute(2)).toBe(true);
  kernel.routes = [3];
  expect(await table.carriesDefaultRoute(2)).toBe(false);
});

test('Nothing stays open', async () => {
  const { kernel, framework } = await start();
  kernel.put({ index: 2, name: 'eth0' });
  kernel.overflow = true;
  await sleep(120);
  await framework.stop();
  expect(kernel.open.size).toBe(0);
});

test('Of an interface is known what one asks before one takes it', async () => {
  const kernel = new FakeNetlink();
  kernel.put({ index: 2, name: 'eth0', mtu: 9000, kind: 'veth' });
  kernel.put({ index: 3, name: 'eth1', up: false });
  kernel.routes = [2];
  const { framework } = await start(kernel);
  const [eth0, eth1] = framework.devices();
  expect(await framework.details(eth0!)).toEqual({
    ...{ driver: '', kind: 'veth', state: 'up', mtu: 9000, mac: '02:00:00:00:00:02', addresses: [] },
    ...{ rxQueues: 1, txQueues: 1, xdp: 'none', defaultRoute: true },
  });
  expect(await framework.details(eth1!)).toMatchObject({ state: 'down', defaultRoute: false });
  kernel.remove(2, { silent: true });
  await sleep(250); // what was read a moment ago is taken for new
  expect(await framework.details(eth0!)).toEqual({});
});

test('Queues of both kinds count for either; a program is named with its owner', () => {
  const link = {
    ...{ index: 2, name: 'eth0', ethernet: true, loopback: false, up: true, carrier: false, mtu: 1500 },
    ...{ mac: '', kind: '', rxQueues: 64, txQueues: 64, xdp: 'native' as const, xdpProgram: 7, moved: false },
  };
  const beside = { driver: 'ixgbe', addresses: [], defaultRoute: false, owner: '(process 8, suricata)' };
  expect(describeLink(link, { ...beside, channels: { rx: 2, tx: 0, combined: 4 } })).toMatchObject({
    ...{ state: 'no-carrier', rxQueues: 6, txQueues: 4, combinedQueues: 4 },
    ...{ xdp: 'native', xdpProgram: 7, xdpOwner: 'process 8, suricata' },
  });
  expect(describeLink(link, { ...beside, channels: undefined })).toMatchObject({ rxQueues: 64, txQueues: 64 });
});
