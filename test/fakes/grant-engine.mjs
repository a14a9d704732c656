// What somebody with a granted socket, and no privileges, tries beyond what it was granted. argv: the helper's socket, the
// granted interface, another one. It says what became of each attempt in a line of JSON.
import { readFileSync } from 'node:fs';
import { GrantedRights } from '../../dist/lib/devios/xsk-grant.js';
import { loadNative } from '../../dist/native/index.js';

const [path, name, other] = process.argv.slice(2);
const native = loadNative();
const indexOf = (link) => Number(readFileSync(`/sys/class/net/${link}/ifindex`, 'utf8'));
const result = (call) => {
  try {
    return String(call());
  } catch (error) {
    return `${error.syscall} ${error.errno}`;
  }
};
const word = (value) => new Uint8Array(Uint32Array.of(value).buffer);
const sockaddr = (index) => {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint16(0, 44, true);
  view.setUint32(4, index, true);
  return new Uint8Array(view.buffer);
};

try {
  const rights = await GrantedRights.open(native, { path, match: '' }, name, indexOf(name));
  const fd = await rights.openSocket(0, false);
  console.log(
    JSON.stringify({
      ownSocket: result(() => native.socket(44, 3, 0)),
      bindElsewhere: result(() => native.bind(fd, sockaddr(indexOf(other)))),
      unconfine: result(() => native.setsockopt(fd, 1, 62, word(indexOf(other)))),
      free: result(() => native.setsockopt(fd, 1, 62, word(0))),
      otherInterface: await GrantedRights.open(native, { path, match: '' }, other, indexOf(other)).then(
        () => 'granted',
        ({ code }) => code,
      ),
      again: await GrantedRights.open(native, { path, match: '' }, name, indexOf(name)).then(
        () => 'granted',
        ({ code }) => code,
      ),
    }),
  );
  rights.close();
} catch ({ code, message }) {
  console.log(JSON.stringify({ code, message }));
}
