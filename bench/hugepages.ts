/** Hugepages for a peer that needs them: reserved for the run, given back after it. */
import { readFileSync, writeFileSync } from 'node:fs';

const COUNT = '/proc/sys/vm/nr_hugepages';

/** A small file that holds a number. Replaced by tests. */
export interface NumberFile {
  read(): number;
  write(value: number): void;
}

const kernelCount: NumberFile = {
  read: () => Number.parseInt(readFileSync(COUNT, 'utf8'), 10),
  write: (value) => writeFileSync(COUNT, String(value)),
};

/** What came of asking. */
export interface Hugepages {
  /** Whether there are as many as were asked for. */
  readonly available: boolean;
  /** Restores the count that was found. May be called twice. */
  release(): void;
}

/** Sees to `pages` hugepages of 2 MiB. Pages that somebody has reserved already are used and left as they are. */
export function reserveHugepages(pages: number, file: NumberFile = kernelCount): Hugepages {
  const nothing = { release: () => {} };
  try {
    const before = file.read();
    if (before > 0) return { available: before >= pages, ...nothing };
    file.write(pages);
    let reserved = true;
    const release = () => {
      if (reserved) file.write(before);
      reserved = false;
    };
    // Memory may be too fragmented for all of them.
    if (file.read() >= pages) return { available: true, release };
    release();
    return { available: false, ...nothing };
  } catch {
    return { available: false, ...nothing }; // not root, or a kernel without hugepages
  }
}
