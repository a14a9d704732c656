// How long this thread has waited for a cpu: what a busy machine keeps from it is nobody's fault.
import { openSync, readSync } from 'node:fs';

/** Returns a function that returns nanoseconds; it costs a system call. */
export function makeWaited() {
  const fd = openSync('/proc/thread-self/schedstat');
  const bytes = new Uint8Array(64);
  return () => {
    const n = readSync(fd, bytes, 0, bytes.length, 0);
    let i = bytes.indexOf(32) + 1; // after the time on a cpu
    let ns = 0;
    for (; i < n && bytes[i] !== 32; i++) ns = ns * 10 + bytes[i] - 48;
    return ns;
  };
}
