// How long a thread has waited for a cpu: what a busy machine keeps from it is nobody's fault.
import { openSync, readSync } from 'node:fs';

/** Returns a function that returns nanoseconds; it costs a system call. Of this thread, or of the main one (`self`). */
export function makeWaited(thread = 'thread-self') {
  const fd = openSync(`/proc/${thread}/schedstat`);
  const bytes = new Uint8Array(64);
  return () => {
    const n = readSync(fd, bytes, 0, bytes.length, 0);
    let i = bytes.indexOf(32) + 1; // after the time on a cpu
    let ns = 0;
    for (; i < n && bytes[i] !== 32; i++) ns = ns * 10 + bytes[i] - 48;
    return ns;
  };
}
