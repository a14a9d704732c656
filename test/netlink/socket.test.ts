import { afterEach, expect, test } from 'vitest';
import { driverOf } from '../../lib/netlink/ethtool.ts';
import { decodeAddress, decodeLink, GROUPS, RTM } from '../../lib/netlink/rtnetlink.ts';
import { dumpAll, NetlinkSocket } from '../../lib/netlink/socket.ts';
import { loadNative } from '../../native/index.ts';
import { countFds } from '../fakes/fds.ts';

// The kernel's own rtnetlink, which answers everybody: no root is needed to ask.
const native = loadNative();
const open: NetlinkSocket[] = [];
afterEach(() => {
  for (const socket of open.splice(0)) socket.close();
});

test('The loopback interface is there, with its address', async () => {
  const links = (await dumpAll(native, RTM.getLink)).map(decodeLink);
  const lo = links.find((link) => link?.name === 'lo');
  expect(lo).toMatchObject({ loopback: true, ethernet: true, moved: false });
  const addresses = (await dumpAll(native, RTM.getAddr)).map(decodeAddress);
  if (lo!.up) expect(addresses).toContainEqual({ index: lo!.index, address: '127.0.0.1/8' });
});

test('What nobody can be asked for is an error, and nothing stays open', async () => {
  const before = countFds('socket:');
  await expect(dumpAll(native, 9999)).rejects.toMatchObject({
    code: 'NETLINK',
    message: expect.stringMatching(/error (95|22|1)/),
  });
  expect(countFds('socket:')).toBe(before);
});

test('A socket without news is empty, and closed only once', () => {
  const socket = new NetlinkSocket(native, GROUPS);
  open.push(socket);
  expect(socket.receive()).toEqual({ messages: [], lost: false });
  socket.close();
  socket.close();
  expect(socket.receive()).toEqual({ messages: [], lost: false });
});

test('An interface that does not exist has no driver', () => {
  expect(driverOf(native, 'no-such-if')).toBe('');
  expect(driverOf(native, 'a name that is far too long for an interface')).toBe('');
});

test.each([2 ** 31, 2 ** 32 + 1, -1, 1.5, Number.NaN])('%d is no file descriptor', (fd) => {
  expect(() => native.receive(fd, new Uint8Array(8))).toThrow(RangeError);
  expect(() => native.bind(fd, new Uint8Array(8))).toThrow(RangeError);
  expect(() => native.ioctl(fd, 0, new Uint8Array(8))).toThrow(RangeError);
});

test('A pointer that does not fit its struct is refused before the kernel sees it', () => {
  const bytes = new Uint8Array(4);
  for (const at of [-1, 1, 8, 2 ** 32]) {
    expect(() => native.bpf(0, new Uint8Array(8), [[at, bytes]])).toThrow(RangeError);
  }
  expect(() => native.bpf(0, new Uint8Array(4), [[0, bytes]])).toThrow(RangeError);
});
