/** The control socket: what is asked there, by whom, and what an engine answers to what is no request. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { askEngine } from '../../lib/control/client.ts';
import {
  CONTROL_RECORD,
  type ControlRequest,
  decodeAnswer,
  decodeControl,
  encodeControl,
} from '../../lib/control/protocol.ts';
import { ControlServer } from '../../lib/control/server.ts';
import { RegistryError } from '../../lib/errors.ts';
import { connectUnix } from '../../lib/unix/connect.ts';
import { loadNative } from '../../native/index.ts';
import { thrown } from '../fakes/errors.ts';
import { openFds } from '../fakes/fds.ts';

const native = loadNative();
const REQUEST: ControlRequest = { type: 'reload', driver: 'null', module: '/x.mjs', export: 'default', older: false };

function serve(answer: (request: ControlRequest) => Promise<object>) {
  const folder = mkdtempSync(join(tmpdir(), 'linecard-control-'));
  const path = join(folder, 's');
  const refused: string[] = [];
  const failed = (error: Error) => refused.push(error.message);
  const server = new ControlServer(native, path, { answer, refused: (_, why) => refused.push(why), failed });
  onTestFinished(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  return { path, server, refused };
}

describe('A control socket', () => {
  it('is its user’s alone, and answers requests one after the other', async () => {
    const asked: ControlRequest[] = [];
    const { path, refused } = serve(async (request) => ({ n: asked.push(request) }));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await askEngine(native, path, REQUEST)).toEqual({ n: 1 });
    expect(await askEngine(native, path, { ...REQUEST, older: true })).toEqual({ n: 2 });
    expect(asked).toEqual([REQUEST, { ...REQUEST, older: true }]);
    expect(refused).toEqual([]);
  });

  it('answers with the error that came of it', async () => {
    const error = new RegistryError('SAME_VERSION', { what: 'a', why: 'b', fix: 'c' }, { detail: { driver: 'x' } });
    const { path } = serve(() => Promise.reject(error));
    const answer = askEngine(native, path, REQUEST);
    await expect(answer).rejects.toMatchObject({ code: 'SAME_VERSION', message: 'a: b; c', detail: { driver: 'x' } });
  });

  it.each(['', 'x', '[]', '{"type":"reload"}', '{"type":"stop"}'])('turns away who sends %j', async (text) => {
    const { path, refused } = serve(async () => ({}));
    const connection = await connectUnix(native, path, { kind: 'seqpacket' });
    onTestFinished(() => connection.close());
    if (text === '') connection.close();
    else {
      await connection.send(Buffer.from(text));
      const answer = await connection.read(CONTROL_RECORD, { startMs: 1000 });
      expect(thrown(() => decodeAnswer(answer!.bytes)).code).toBe('CONTROL_PROTOCOL');
      expect(await connection.read(CONTROL_RECORD, { startMs: 1000 })).toBeUndefined();
      expect(refused).toHaveLength(1);
    }
    expect(await askEngine(native, path, REQUEST)).toEqual({});
  });

  it('hangs up on whoever is connected when it is closed, and leaves nothing', async () => {
    const before = openFds().size;
    const { path, server } = serve(() => new Promise(() => {}));
    const asking = askEngine(native, path, REQUEST);
    asking.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 20));
    server.close();
    await expect(asking).rejects.toMatchObject({ code: 'CONTROL_LOST' });
    await expect.poll(() => openFds().size).toBe(before);
    await expect(askEngine(native, path, REQUEST)).rejects.toMatchObject({ code: 'UNIX_CONNECT' });
  });
});

describe('A record', () => {
  it('is read as it was written, and is never too long', () => {
    expect(decodeControl(encodeControl(REQUEST))).toEqual(REQUEST);
    const long = encodeControl({ ok: { text: 'x'.repeat(CONTROL_RECORD) } });
    expect(thrown(() => decodeAnswer(long)).code).toBe('CONTROL_PROTOCOL');
  });

  it.each([
    ['driver', 5],
    ['driver', ''],
    ['module', undefined],
    ['export', null],
    ['older', 'yes'],
    ['type', 'x'],
  ])('with %s %j is refused', (name, value) => {
    expect(thrown(() => decodeControl(encodeControl({ ...REQUEST, [name]: value }))).code).toBe('CONTROL_PROTOCOL');
  });
});
