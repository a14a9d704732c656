/** A terminal that remembers what was written to it, and whose signals and failures tests make. */
import type { StopSignal, Terminal } from '../../lib/cli/terminal.ts';

export class FakeTerminal implements Terminal {
  readonly env: NodeJS.ProcessEnv;
  readonly interactive: boolean;
  columns = 80;
  rows = 24;
  stdout = '';
  stderr = '';
  outputError: NodeJS.ErrnoException | undefined;
  readonly exits: number[] = [];
  private readonly hearSignal = new Set<(signal: StopSignal) => void>();
  private readonly hearFailure = new Set<() => void>();

  constructor(options: { interactive?: boolean; env?: NodeJS.ProcessEnv } = {}) {
    this.interactive = options.interactive ?? false;
    this.env = options.env ?? {};
  }

  /** Lines of standard output. */
  get lines(): string[] {
    return this.stdout.split('\n').slice(0, -1);
  }

  /** How many listeners there are, of either kind. */
  get listeners(): number {
    return this.hearSignal.size + this.hearFailure.size;
  }

  size() {
    return { columns: this.columns, rows: this.rows };
  }

  out(text: string): void {
    if (this.outputError === undefined) this.stdout += text;
  }

  async written(): Promise<void> {}

  err(text: string): void {
    this.stderr += text;
  }

  style(_format: string, text: string): string {
    return text;
  }

  onOutputError(listener: () => void): () => void {
    this.hearFailure.add(listener);
    return () => void this.hearFailure.delete(listener);
  }

  onSignal(listener: (signal: StopSignal) => void): () => void {
    this.hearSignal.add(listener);
    return () => void this.hearSignal.delete(listener);
  }

  exit(code: number): void {
    this.exits.push(code);
  }

  /** A signal comes. */
  signal(signal: StopSignal): void {
    for (const listener of [...this.hearSignal]) listener(signal);
  }

  /** Standard output fails. */
  failOutput(code: string): void {
    this.outputError = Object.assign(new Error(`${code}: write`), { code });
    for (const listener of [...this.hearFailure]) listener();
  }
}

/** The sequence that moves the cursor up. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what sequences begin with
export const UP = /\x1b\[\d+A/;
/** Every sequence that sets a colour. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what sequences begin with
export const COLOUR = /\x1b\[\d+m/g;

/**
 * What a screen shows after `text`: understands the three sequences that the display uses (up, carriage return, clear to
 * the end of the screen), written from ECMA-48, not from the display.
 */
export function screenAfter(text: string): string[] {
  let lines: string[] = [''];
  let row = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what sequences begin with
  for (const [token] of text.matchAll(/\x1b\[\d*[AJ]|\r|\n|[^\x1b\r\n]+/g)) {
    if (token === '\n') {
      row++;
      lines[row] ??= '';
    } else if (token === '\r') continue;
    else if (token.startsWith('\x1b[') && token.endsWith('A')) row -= Number(token.slice(2, -1));
    else if (token.startsWith('\x1b[')) {
      lines = lines.slice(0, row + 1);
      lines[row] = '';
    } else lines[row] += token;
    if (row < 0) throw new Error('the cursor left the screen');
  }
  return lines;
}
