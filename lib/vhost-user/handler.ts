/** What the back end does with each message of the front end: types of the functions in `handlers/`. */
import type { Payloads } from './payload.ts';
import type { MESSAGE, MessageName, Shape } from './protocol.ts';
import type { SessionState } from './state.ts';

/** The fds of a message. Those that nobody takes are closed after it. */
export interface Received {
  /** Takes the fd over: from now on it is the caller's. */
  take(i: number): number;
  /** The fd, to look at; undefined when there are fewer. */
  peek(i: number): number | undefined;
}

/** An answer with fds, which are closed when it has been sent. */
export interface WithFds<T> {
  readonly value: T;
  readonly fds: readonly number[];
}

type PayloadOf<N extends MessageName> = Payloads[(typeof MESSAGE)[N]['payload']];
type ReplyOf<N extends MessageName> = (typeof MESSAGE)[N] extends { readonly reply: infer S extends Shape }
  ? Payloads[S] | WithFds<Payloads[S]>
  : unknown;

/** Handles one message; throws a refusal, and then has changed nothing. */
export type Handler<N extends MessageName> = (
  state: SessionState,
  payload: PayloadOf<N>,
  fds: Received,
) => ReplyOf<N> | Promise<ReplyOf<N>>;

/** Handlers of some messages. */
export type Handlers<N extends MessageName = MessageName> = { readonly [K in N]: Handler<K> };
