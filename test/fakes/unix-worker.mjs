// A thread that watches a unix socket when it ends. workerData: whether it ends itself.
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
new UnixListener(native, { path, connected: (connection) => connection.onEnd(() => {}) });
const connection = await connectUnix(native, path);
await connection.send(new Uint8Array(1));
rmSync(folder, { recursive: true });
parentPort.postMessage('watching');
if (workerData.end === 'exit') process.exit();
