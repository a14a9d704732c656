import { describe, expect, it } from 'vitest';
import { SOCKET_ENUMERATOR_API, socketClass, socketFacts } from '../../lib/enumerators/socket.ts';
import type { DeviceFacts, Enumerator } from '../../lib/framework/types.ts';
import { codeOf, thrown } from '../fakes/errors.ts';

describe('a socket port name', () => {
  it('of a front end says where, in which role, and what is wished for', () => {
    const facts = socketFacts('virtio-user:/run/a.sock');
    expect(facts).toEqual({
      ...{ kind: 'virtio-user', path: '/run/a.sock', queues: 1, server: false, inflight: false, wait: 3 },
    });
    const name =
      'virtio-user:a,server=1,queues=4,packed=1,mac=02:00:00:00:00:AB,mtu=9000,wait=0,mergeable=0,in-order=1,inflight=1';
    expect(socketFacts(name)).toEqual({
      ...{ kind: 'virtio-user', path: 'a', server: true, queues: 4, packed: true, mac: '02:00:00:00:00:ab' },
      ...{ mtu: 9000, wait: 0, mergeable: false, 'in-order': true, inflight: true },
    });
  });

  it('of a back end says how much memory a front end may have, and who it may be', () => {
    const facts = socketFacts('vhost-user:/run/a.sock,client=1,memory=64,uid=1000');
    expect(facts).toEqual({
      ...{ kind: 'vhost-user', path: '/run/a.sock', queues: 1, client: true, memory: 64, uid: 1000 },
    });
  });

  it.each([
    ['virtio-user:', 'names no socket'],
    ['virtio-user:queues=2', 'names no socket'],
    [`vhost-user:/${'x'.repeat(107)}`, '108 bytes'],
    ['virtio-user:a,client=1', 'no option "client=1"'],
    ['vhost-user:a,server=1', 'no option "server=1"'],
    ['virtio-user:a,queues=0', 'from 1 to 128'],
    ['virtio-user:a,queues=129', 'from 1 to 128'],
    ['virtio-user:a,packed=yes', 'neither 0 nor 1'],
    ['virtio-user:a,mac=01:00:00:00:00:01', 'no address of one port'],
    ['virtio-user:a,mac=00:00:00:00:00:00', 'no address of one port'],
    ['virtio-user:a,mac=02:00', 'no address of one port'],
    ['virtio-user:a,mtu=67', 'from 68 to 65535'],
    ['vhost-user:a,memory=0', 'from 1 to 1024'],
    ['vhost-user:a,uid=-1', 'from 0 to'],
    ['vhost-user:a,queues=1,queues=2', 'given twice'],
  ])('%s is wrong: %s', (name, why) => {
    expect(codeOf(() => socketFacts(name))).toBe('BAD_PORT_NAME');
    expect(thrown(() => socketFacts(name)).message).toContain(why);
  });

  it('of another kind is another’s', () => {
    for (const name of ['null:a', 'virtio-user', 'toString:a', '', ':a']) expect(socketFacts(name)).toBeUndefined();
  });
});

describe('the socket enumerator', () => {
  it('makes one device per end of a socket', async () => {
    const enumerators: Enumerator[] = [];
    await socketClass().start({ addEnumerator: (e) => enumerators.push(e), removeEnumerator: async () => {} });
    const added: { address: string; facts: DeviceFacts }[] = [];
    const [enumerator] = enumerators;
    expect(enumerator?.api).toEqual(SOCKET_ENUMERATOR_API);
    await enumerator?.start({ addDevice: (device) => added.push(device), removeDevice: async () => {} });
    expect(enumerator?.request?.('virtio-user:/a,queues=2')).toBe('virtio-user:/a');
    expect(enumerator?.request?.('vhost-user:/a')).toBe('vhost-user:/a');
    expect(enumerator?.request?.('pair:a/0')).toBeUndefined();
    expect(added.map(({ address }) => address)).toEqual(['virtio-user:/a', 'vhost-user:/a']);
  });
});
