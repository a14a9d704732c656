/** A child process that is spoken to line by line. Every wait has a deadline; whatever happens, the process ends. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { SystemError } from '../lib/errors.ts';

/** How to start a child. */
export interface ChildSpec {
  /** What messages call it. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What makes it end by itself; closing its standard input comes first, always. */
  readonly quit: string;
}

/** Lines of a child's output that an error quotes. */
const WORDS = 5;

/** Returns the object or array that ends `text`: the rest of its line, should something stand before it. */
export function lastJson(text: string): unknown {
  const line = text.trimEnd().split('\n').at(-1)!;
  return JSON.parse(line.slice(line.search(/\{"|\[\{|\[\]/)));
}

/** A running child. Its standard output and error are one text, in the order of arrival. */
export class Child {
  readonly #name: string;
  readonly #quit: string;
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<void>;
  #text = '';
  #exit: string | undefined;
  #wake: () => void = () => {};

  constructor(spec: ChildSpec) {
    this.#name = spec.name;
    this.#quit = spec.quit;
    this.#process = spawn(spec.command, spec.args, { env: { ...process.env, ...spec.env }, stdio: 'pipe' });
    const { stdout, stderr, stdin } = this.#process;
    for (const stream of [stdout, stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#text += text;
        this.#wake();
      });
    }
    // Writing to a process that has just ended is reported by its exit, not here.
    stdin.on('error', () => {});
    this.#ended = new Promise((resolve) => {
      const end = (how: string) => {
        this.#exit ??= how;
        this.#wake();
        resolve();
      };
      this.#process.on('error', (error) => end(error.message));
      this.#process.on('close', (code, signal) => end(signal === null ? `it exited with ${code}` : `it got ${signal}`));
    });
  }

  /** Its process id; 0 when it could not be started. */
  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** Writes a line to its standard input. */
  send(line: string): void {
    this.#process.stdin.write(`${line}\n`);
  }

  /** Waits until `pattern` occurs in what was not yet taken; takes and returns the text up to the end of the match. */
  async expect(pattern: RegExp, timeoutMs: number): Promise<string> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const match = pattern.exec(this.#text);
      if (match !== null) {
        const end = match.index + match[0].length;
        const taken = this.#text.slice(0, end);
        this.#text = this.#text.slice(end);
        return taken;
      }
      if (this.#exit !== undefined) throw this.#error('CHILD_ENDED', this.#exit);
      const left = deadline - performance.now();
      if (left <= 0) throw this.#error('CHILD_SILENT', `no ${pattern} within ${timeoutMs} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Sends it a signal that it waits for. */
  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Stops all its threads where they are, so that it takes no cpu. */
  pause(): void {
    this.#process.kill('SIGSTOP');
  }

  /** Lets it go on after `pause`. */
  resume(): void {
    this.#process.kill('SIGCONT');
  }

  /** Asks it to end, then makes it. Returns what it had left to say. Never rejects. */
  async close(graceMs = 3000): Promise<string> {
    this.resume();
    if (this.#exit === undefined) this.#process.stdin.end(this.#quit === '' ? undefined : `${this.#quit}\n`);
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), graceMs);
    await this.#ended;
    clearTimeout(timer);
    return this.#text;
  }

  #error(code: string, why: string): SystemError {
    const lines = this.#text.trim().split('\n');
    // What an uncaught error is stands before its stack, not at the end.
    const error = lines
      .slice(0, -WORDS)
      .filter((line) => /error/i.test(line))
      .slice(-1);
    const said = [...error, ...lines.slice(-WORDS)].join(' | ');
    return new SystemError(
      code,
      {
        what: this.#name,
        why: said === '' ? why : `${why}, and its last words were: ${said}`,
        fix: 'run it alone to see',
      },
      { detail: { pid: this.pid } },
    );
  }
}
