// A process that may have few files open is sent more fds than it can take. argv: the kind of socket. It says what its
// socket received, and how many of the fds stayed open.
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AF_UNIX, SOCKET_TYPE, sockaddrUn } from '../../dist/lib/unix/address.js';
import { loadNative } from '../../dist/native/index.js';

const native = loadNative();
const type = SOCKET_TYPE[process.argv[2]];
const folder = mkdtempSync(join(tmpdir(), 'linecard-'));
const address = sockaddrUn(join(folder, 'socket'));
const listening = native.socket(AF_UNIX, type, 0);
const sender = native.socket(AF_UNIX, type, 0);
native.bind(listening, address);
native.listen(listening, 1);
native.connect(sender, address);
const receiver = new native.UnixSocket(new native.UnixSocket(listening).accept());
const [bytes, slots] = [new Uint8Array(1), new Int32Array(254)];
new native.UnixSocket(sender).send(bytes, new Int32Array(100).fill(1));
// All but two of the numbers that there are.
const taken = [];
try {
  for (;;) taken.push(openSync('/dev/null'));
} catch {
  closeSync(taken.pop());
  closeSync(taken.pop());
}
const received = receiver.receive(bytes, slots);
// Two can be opened again, and no more.
let free = 0;
try {
  for (;;) {
    openSync('/dev/null');
    free++;
  }
} catch {
  for (const fd of taken) closeSync(fd);
}
rmSync(folder, { recursive: true });
process.stdout.write(JSON.stringify({ received, opened: 2 - free }));
process.exit();
