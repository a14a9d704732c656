/** Asking the kernel about things: structures that say how long they are, and lists of capabilities behind them. Control half. */
import { CAP_HEADER } from './abi.ts';
import type { VfioKernel } from './kernel.ts';

/** Longest answer that is believed. */
const MOST = 65_536;

/** A zeroed structure of `bytes` bytes with its size in it; `fill` writes the rest. */
export function structure(bytes: number, fill: (view: DataView) => void = () => {}): Uint8Array {
  const made = new Uint8Array(bytes);
  const view = viewOf(made);
  view.setUint32(0, bytes, true);
  fill(view);
  return made;
}

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Asks for a structure of at least `bytes` bytes; again with more room when the kernel has more to say. */
export function ask(
  kernel: VfioKernel,
  fd: number,
  request: number,
  bytes: number,
  fill?: (view: DataView) => void,
): DataView {
  const first = structure(bytes, fill);
  kernel.ioctl(fd, request, first);
  const wanted = viewOf(first).getUint32(0, true);
  if (wanted <= bytes) return viewOf(first);
  const whole = structure(Math.min(wanted, MOST), fill);
  kernel.ioctl(fd, request, whole);
  return viewOf(whole);
}

/**
 * Where in `info` capability `id` begins, from the one at `first` on (0: none); undefined when there is none, or less of it
 * than `bytes`.
 */
export function findCapability(info: DataView, first: number, id: number, bytes: number): number | undefined {
  // Each lies behind the one before: a list that does not end is not followed.
  for (let at = first, before = 0; at > before; before = at, at = info.getUint32(before + CAP_HEADER.next, true)) {
    if (at + CAP_HEADER.bytes > info.byteLength) return undefined;
    if (info.getUint16(at + CAP_HEADER.id, true) === id) return at + bytes > info.byteLength ? undefined : at;
  }
  return undefined;
}

/** The entries of a capability: `count` of them, `bytes` each, as far as they are there. */
export function entries(info: DataView, first: number, count: number, bytes: number): number[] {
  const room = Math.max(0, Math.floor((info.byteLength - first) / bytes));
  return Array.from({ length: Math.min(count, room) }, (_, i) => first + i * bytes);
}
