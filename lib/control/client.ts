/** Asks a running engine, at its control socket. */
import type { Native } from '../../native/index.ts';
import { SystemError } from '../errors.ts';
import { connectUnix } from '../unix/connect.ts';
import { CONTROL_RECORD, type ControlRequest, decodeAnswer, encodeControl } from './protocol.ts';

/** How long an answer may take: a driver's probe of each device, and more. */
const ANSWER_MS = 120_000;

/** Sends `request` to the engine at `path`; returns its answer. Throws `UNIX_CONNECT`, `CONTROL_LOST`, and what the engine says. */
export async function askEngine(
  native: Native,
  path: string,
  request: ControlRequest,
): Promise<Readonly<Record<string, unknown>>> {
  const connection = await connectUnix(native, path, { kind: 'seqpacket' });
  try {
    // Who is turned away may not even be able to send; that it was, the end of the stream says.
    await connection.send(encodeControl(request)).catch(() => {});
    const message = await connection.read(CONTROL_RECORD, { startMs: ANSWER_MS });
    if (message !== undefined) return decodeAnswer(message.bytes);
  } finally {
    connection.close();
  }
  throw new SystemError('CONTROL_LOST', {
    what: `engine at ${path}`,
    why: 'it hung up without a word: it is another user’s, or ended just now',
    fix: 'run this as the user whose engine it is',
  });
}
