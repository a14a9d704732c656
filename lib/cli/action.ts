/** How a command's code is run: the program takes its exit code and its errors. */
import type { Terminal } from './terminal.ts';

/** Runs what a command does; the number is the exit code. */
export type Action = (body: (terminal: Terminal) => number | Promise<number>) => Promise<void>;
