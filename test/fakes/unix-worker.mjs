// A thread that watches unix sockets when it ends: a listener, and both ends of a connection. workerData: whether it ends
// itself.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { connectUnix } from '../../dist/lib/unix/connect.js';
import { UnixListener } from '../../dist/lib/unix/listener.js';
import { loadNative } from '../../dist/native/index.js';

const native = loadNative();
const folder = mkdtempSync(join(tmpdir(), 'linecard-'));
const path = join(folder, 'socket');
// An fd that was accepted is a number until a connection has taken it over, and who ends the thread between the two loses
// it: so nobody is told before there is nothing left to accept.
const accepted = new Promise((resolve) => {
  new UnixListener(native, { path, connected: resolve });
});
const connection = await connectUnix(native, path);
await connection.send(new Uint8Array(1));
(await accepted).onEnd(() => {});
rmSync(folder, { recursive: true });
parentPort.postMessage('watching');
if (workerData.end === 'exit') process.exit();
