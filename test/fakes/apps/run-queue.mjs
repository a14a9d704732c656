// How long a thread has waited for a cpu: what a busy machine keeps from it is nobody's fault.
import { openSync, readFileSync, readSync } from 'node:fs';

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

/**
 * Returns a function that returns nanoseconds for which the machine ran, exact to `RAN_NS`: a virtual one is stopped by
 * its host now and then, all threads at once, and neither these nor the kernel know of it but by the ticks that are missing.
 */
export function makeRan() {
  const fd = openSync('/proc/stat');
  const bytes = new Uint8Array(512);
  const cpus = readFileSync('/proc/stat', 'latin1').match(/^cpu\d/gm).length;
  return () => {
    readSync(fd, bytes, 0, bytes.length, 0);
    let sum = 0;
    // `cpu`, then ticks of 10 ms of all cpus: user, nice, system, idle, iowait, irq, softirq (proc(5)); then what was stolen.
    for (let i = 5, field = 0, ticks = 0; field < 7; i++) {
      if (bytes[i] !== 32) ticks = ticks * 10 + bytes[i] - 48;
      else {
        sum += ticks;
        ticks = 0;
        field++;
      }
    }
    return (sum * 1e7) / cpus;
  };
}

/** A tick at either end. */
export const RAN_NS = 2e7;
