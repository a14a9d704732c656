/** Netlink messages: headers and attributes (RFC 3549 §2; Linux, Documentation/userspace-api/netlink/intro.rst). */

/** Header flags. */
export const NLM_F = { request: 0x1, multi: 0x2, ack: 0x4, dump: 0x300, dumpInterrupted: 0x10 } as const;

/** Message types below those of any family. */
export const NLMSG = { error: 2, done: 3 } as const;

const HEADER = 16;
const align4 = (n: number): number => (n + 3) & ~3;

/** One message, without its header. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/** Attributes by type. Of several with the same type the last one counts. */
export type Attributes = ReadonlyMap<number, Uint8Array>;

/** Lays out one message. */
export function encodeMessage(type: number, flags: number, sequence: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(align4(HEADER + payload.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, HEADER + payload.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  bytes.set(payload, HEADER);
  return bytes;
}

/** Takes a datagram apart. What is malformed ends it: the messages before are returned. */
export function decodeMessages(datagram: Uint8Array): Message[] {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const messages: Message[] = [];
  for (let at = 0; at + HEADER <= datagram.length; ) {
    const length = view.getUint32(at, true);
    if (length < HEADER || length > datagram.length - at) break;
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      payload: datagram.subarray(at + HEADER, at + length),
    });
    at += align4(length);
  }
  return messages;
}

/** Takes attributes apart, from byte `from` of a payload on. What is malformed ends them. */
export function decodeAttributes(payload: Uint8Array, from: number): Attributes {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const attributes = new Map<number, Uint8Array>();
  for (let at = from; at + 4 <= payload.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || length > payload.length - at) break;
    attributes.set(view.getUint16(at + 2, true) & 0x3fff, payload.subarray(at + 4, at + length));
    at += align4(length);
  }
  return attributes;
}

/** A 32-bit attribute, host order; undefined when it is missing or too short. */
export function u32(attributes: Attributes, type: number): number | undefined {
  const bytes = attributes.get(type);
  return bytes === undefined || bytes.length < 4
    ? undefined
    : new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
}

/** A zero-terminated string attribute. */
export function text(attributes: Attributes, type: number): string | undefined {
  const bytes = attributes.get(type);
  if (bytes === undefined) return undefined;
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8');
}
