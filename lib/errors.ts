/** The error classes. `code` is the contract; the message reads "what failed: why; what to do". */

/** What an error says, in the order in which a reader needs it. */
export interface ErrorText {
  /** What failed, naming the object: `port pcap:in.pcap`. */
  readonly what: string;
  /** Why it failed. */
  readonly why: string;
  /** What the reader can do about it: a command, an option, a value that would be accepted. */
  readonly fix: string;
}

/** Data about the failure, for programs. Survives the way from a worker to the main thread. */
export type ErrorDetail = Readonly<Record<string, string | number | boolean | null>>;

/** Base of every error that linecard throws. Never thrown itself. */
export class LinecardError extends Error {
  readonly code: string;
  readonly detail: ErrorDetail;

  constructor(code: string, text: ErrorText, options: { detail?: ErrorDetail; cause?: unknown } = {}) {
    super(`${text.what}: ${text.why}; ${text.fix}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.detail = options.detail ?? {};
  }
}

/** The registry refused an object: a duplicate, a wrong shape, another framework API. */
export class RegistryError extends LinecardError {}
/** A table of registers or descriptors contradicts itself. */
export class LayoutError extends LinecardError {}
/** Memory could not be reserved, mapped or allocated. */
export class ArenaError extends LinecardError {}
/** A devio, or the system call under it, failed. */
export class DevioError extends LinecardError {}
/** A device misbehaved, or was asked for what it cannot do. */
export class DeviceError extends LinecardError {}
/** A port was misused: unknown name, unknown setting, wrong state. */
export class PortError extends LinecardError {}
/** A capture file is malformed, or could not be read or written. */
export class CaptureError extends LinecardError {}
/** Jobs do not fit the ports and cpus. */
export class PlanError extends LinecardError {}
/** A worker, or the application in it, failed. `cause` is the original when there is one. */
export class WorkerError extends LinecardError {}
/** The environment lacks something: the addon, a privilege, a kernel feature. */
export class SystemError extends LinecardError {}

/** An error as plain data: what crosses `postMessage`, where classes and codes are lost. */
export interface PlainError {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly stack: string;
  readonly detail: ErrorDetail;
}

/** Returns `error`, whatever it is, as data that survives `postMessage`. */
export function toPlainError(error: unknown): PlainError {
  const e = error instanceof Error ? error : new Error(String(error));
  const { code, detail } = e as Partial<LinecardError>;
  return {
    name: e.name,
    code: typeof code === 'string' ? code : '',
    message: e.message,
    stack: e.stack ?? '',
    detail: detail ?? {},
  };
}

const CLASSES: readonly (typeof LinecardError)[] = [
  RegistryError,
  LayoutError,
  ArenaError,
  DevioError,
  DeviceError,
  PortError,
  CaptureError,
  PlanError,
  WorkerError,
  SystemError,
];

/** Rebuilds an error that crossed `postMessage`: the class by its name, the worker's stack kept. */
export function fromPlainError(plain: PlainError): Error {
  const known = CLASSES.find((c) => c.name === plain.name);
  const error = known === undefined ? new Error(plain.message) : Object.create(known.prototype);
  const own = { name: plain.name, message: plain.message, stack: plain.stack, code: plain.code, detail: plain.detail };
  for (const [key, value] of Object.entries(own)) {
    Object.defineProperty(error, key, { value, configurable: true, writable: true, enumerable: key === 'code' });
  }
  return error;
}
