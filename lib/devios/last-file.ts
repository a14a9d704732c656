/** A file that the kernel closes before others when a process ends. Control half. */
import type { Native } from '../../native/index.ts';

/**
 * Makes a duplicate of `fd` with a number above all of `others`; it is the caller's. A process that ends gives up its files
 * from the lowest number on, but the kernel works that off from the last one (Linux, fs/file_table.c `fput`,
 * kernel/task_work.c): so a device whose file this is stops before the memory behind `others` goes to somebody else.
 */
export function duplicateAbove(
  native: Pick<Native, 'eventfd' | 'replaceFd' | 'close'>,
  fd: number,
  others: readonly number[],
): number {
  const floor = Math.max(fd, ...others);
  const made: number[] = [];
  try {
    // Whatever is the lowest free number: there is one above the floor after as many steps as it has numbers.
    do made.push(native.eventfd());
    while (made.at(-1)! <= floor);
    native.replaceFd(made.at(-1)!, fd);
    return made.pop()!;
  } finally {
    for (const one of made) native.close(one);
  }
}
