/** The socket by which a running engine is asked from outside: for its own user and root only. Control half. */
import type { Native } from '../../native/index.ts';
import { toPlainError } from '../errors.ts';
import type { Peer } from '../unix/address.ts';
import type { UnixConnection } from '../unix/connection.ts';
import { UnixListener } from '../unix/listener.ts';
import { CONTROL_RECORD, type ControlRequest, decodeControl, encodeControl, plain } from './protocol.ts';

const ANSWER_MS = 2000;
/** How long somebody may be connected without a word. */
const IDLE_MS = 10_000;

/** What is done with requests, and who is told what else happens. */
export interface ControlHost {
  /** Does what is asked; returns plain data. What it throws is the answer, too. */
  answer(request: ControlRequest): Promise<object>;
  /** Somebody was turned away, or broke the protocol. */
  refused(peer: Peer, why: string): void;
  failed(error: Error): void;
}

/** Listens at `path` until it is closed. */
export class ControlServer {
  private readonly host: ControlHost;
  private readonly listener: UnixListener;
  private readonly connections = new Set<UnixConnection>();

  /** Throws `UNIX_PATH`, `UNIX_PATH_TAKEN`, `UNIX_LISTEN`. */
  constructor(native: Native, path: string, host: ControlHost) {
    this.host = host;
    this.listener = new UnixListener(native, {
      path,
      kind: 'seqpacket',
      // The file's mode keeps others out; this holds when somebody has changed it.
      uids: [...new Set([process.geteuid!(), 0])],
      connected: (connection) => void this.serve(connection),
      refused: (peer, why) => host.refused(peer, why),
      failed: (error) => host.failed(error),
    });
  }

  private async serve(connection: UnixConnection): Promise<void> {
    this.connections.add(connection);
    try {
      while (await this.next(connection));
    } catch (error) {
      // Who has gone without hearing the answer does not want it.
      const { code, message } = toPlainError(error);
      if (code !== 'UNIX_CLOSED') this.host.refused(connection.peer, message);
    } finally {
      this.connections.delete(connection);
      connection.close();
    }
  }

  private async next(connection: UnixConnection): Promise<boolean> {
    const message = await connection.read(CONTROL_RECORD, { startMs: IDLE_MS });
    if (message === undefined) return false;
    const send = (record: object) => connection.send(encodeControl(record), [], { withinMs: ANSWER_MS });
    let request: ControlRequest;
    try {
      request = decodeControl(message.bytes);
    } catch (error) {
      await send({ error: plain(error) });
      throw error;
    }
    const record = await this.host.answer(request).then(
      (ok) => ({ ok }),
      (error: unknown) => ({ error: plain(error) }),
    );
    await send(record);
    return true;
  }

  /** Idempotent. What is being done is not waited for. */
  close(): void {
    this.listener.close();
    for (const connection of this.connections) connection.close();
  }
}
