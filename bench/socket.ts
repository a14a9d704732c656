/** A place for a unix socket, in a folder of its own that only we may enter. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where a socket may be made. */
export interface SocketPlace {
  readonly path: string;
  /** Removes the folder and what is in it. Never throws, may be called twice. */
  remove(): void;
}

/** Makes a place; the socket is made by whoever listens there. */
export function makeSocket(): SocketPlace {
  const folder = mkdtempSync(join(tmpdir(), 'linecard-bench-'));
  return { path: join(folder, 'socket'), remove: () => rmSync(folder, { recursive: true, force: true }) };
}
