import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { distanceOf } from '../../bench/cache-line.ts';
import { deviceOf, opposite, portOf, seatEntries, withPeer } from '../../bench/seats.ts';
import { makeSocket } from '../../bench/socket.ts';

describe('the way between two cpus', () => {
  test('is near or far only if it was so before and after', () => {
    expect(distanceOf(60, 229)).toBe('near');
    expect(distanceOf(331, 500)).toBe('far');
    expect(distanceOf(60, 500)).toBe('mixed');
    expect(distanceOf(280, 280)).toBe('mixed');
  });

  test('is not known when nothing came back', () => {
    expect(distanceOf(-1, 60)).toBe('mixed');
    expect(distanceOf(500, -1)).toBe('mixed');
  });
});

describe('both ends of a socket', () => {
  test('one is testpmd’s, the other ours', () => {
    expect(portOf('virtio-user', '/s', 'packed')).toBe('virtio-user:/s,packed=1');
    expect(portOf('vhost-user', '/s', 'packed')).toBe('vhost-user:/s');
    expect(deviceOf(opposite('virtio-user'), '/s', 'packed')).toBe('net_vhost0,iface=/s');
    expect(deviceOf(opposite('vhost-user'), '/s', 'packed')).toBe(
      'net_virtio_user0,path=/s,queue_size=256,packed_vq=1',
    );
  });

  test('the back end is opened first: it makes the socket', async () => {
    for (const [end, first] of [
      ['vhost-user', 'seat'],
      ['virtio-user', 'peer'],
    ] as const) {
      const opened: string[] = [];
      const open = (who: string) => async () => {
        opened.push(who);
        return { wake: async () => {}, rest: async () => {}, close: async () => ({ faults: [] }) };
      };
      await withPeer({ end, rings: 'split' }, '/s', open('seat'), open('peer'));
      expect(opened[0]).toBe(first);
    }
  });

  test('whoever is opened first is closed when the other cannot be', async () => {
    for (const end of ['vhost-user', 'virtio-user'] as const) {
      let closed = 0;
      const fine = async () => ({
        wake: async () => {},
        rest: async () => {},
        close: async () => {
          closed++;
          return { faults: [] };
        },
      });
      const fails = () => Promise.reject(new Error('no'));
      const [take, peer] = end === 'vhost-user' ? [fine, fails] : [fails, fine];
      await expect(withPeer({ end, rings: 'split' }, '/s', take, peer)).rejects.toThrow('no');
      expect(closed).toBe(1);
    }
  });
});

test('without testpmd nobody sends: both are absent, and nobody is at fault', async () => {
  const ground = { place: { main: 0, loop: 1 }, burst: 32, hugepages: false };
  for (const { ours, open } of seatEntries(ground, { end: 'vhost-user', rings: 'split' }, 'probe', 'not installed')) {
    expect(ours).toBe(false);
    await expect(open()).rejects.toThrow('not installed');
  }
});

test('the folder of a socket goes with it', () => {
  const place = makeSocket();
  const folder = place.path.slice(0, place.path.lastIndexOf('/'));
  expect(existsSync(folder)).toBe(true);
  place.remove();
  place.remove();
  expect(existsSync(folder)).toBe(false);
});
