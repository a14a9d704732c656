/** What the command line has to do with the world outside: replaced by tests. */
import { styleText } from 'node:util';

/** Signals that ask for an orderly end. */
export const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** One of them. */
export type StopSignal = (typeof STOP_SIGNALS)[number];

/** Standard output and error, signals, environment. */
export interface Terminal {
  readonly env: NodeJS.ProcessEnv;
  /** Output is a screen on which lines can be drawn again. */
  readonly interactive: boolean;
  /** The screen's size now. */
  size(): { readonly columns: number; readonly rows: number };
  /** Writes to standard output. Does nothing once that has failed. */
  out(text: string): void;
  /** Writes to standard error. */
  err(text: string): void;
  /** The text in bold, yellow …, or as it is where colours are not wanted. */
  style(format: 'bold' | 'dim' | 'green' | 'yellow' | 'red', text: string): string;
  /** Why standard output takes no more, once it doesn't; EPIPE means that its reader has gone. */
  readonly outputError: NodeJS.ErrnoException | undefined;
  /** Resolves when all output so far was written, or could not be. */
  written(): Promise<void>;
  /** Calls `listener` when standard output fails. Returns the function that ends that. */
  onOutputError(listener: () => void): () => void;
  /** Calls `listener` for each signal of `STOP_SIGNALS`, which then don't end the process. Returns the function that ends that. */
  onSignal(listener: (signal: StopSignal) => void): () => void;
  /** Ends the process at once. */
  exit(code: number): void;
}

/** The terminal, pipe or file that this process was started with. */
export class SystemTerminal implements Terminal {
  readonly env = process.env;
  readonly interactive = process.stdout.isTTY === true && process.env.TERM !== 'dumb';
  outputError: NodeJS.ErrnoException | undefined;
  private readonly colours = this.interactive && !process.env.NO_COLOR;
  private readonly listeners = new Set<() => void>();

  constructor() {
    process.stdout.on('error', (error) => {
      this.outputError ??= error;
      for (const listener of this.listeners) listener();
    });
    // Whoever does not read our errors misses them; nothing more can be said about that.
    process.stderr.on('error', () => {});
  }

  size() {
    return { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 };
  }

  out(text: string): void {
    if (this.outputError === undefined) process.stdout.write(text);
  }

  written(): Promise<void> {
    if (this.outputError !== undefined) return Promise.resolve();
    // The error event of a failed write comes after its callback.
    return new Promise((resolve) => process.stdout.write('', () => setImmediate(resolve)));
  }

  err(text: string): void {
    process.stderr.write(text);
  }

  style(format: Parameters<Terminal['style']>[0], text: string): string {
    // Whether there are colours was decided above: an empty NO_COLOR is none.
    return this.colours ? styleText(format, text, { validateStream: false }) : text;
  }

  onOutputError(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  onSignal(listener: (signal: StopSignal) => void): () => void {
    const hear = (signal: NodeJS.Signals) => listener(signal as StopSignal);
    for (const signal of STOP_SIGNALS) process.on(signal, hear);
    return () => {
      for (const signal of STOP_SIGNALS) process.off(signal, hear);
    };
  }

  exit(code: number): void {
    process.exit(code);
  }
}
