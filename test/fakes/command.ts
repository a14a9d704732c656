/** The `linecard` program as a user runs it: a process of its own, which has ended when its test has. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished } from 'vitest';

const MAIN = fileURLToPath(new URL('../../dist/lib/cli/main.js', import.meta.url));
/** Less than a test may take, so that the test shows what the command said. */
const DEADLINE_MS = 18_000;

/** How a command ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How to start a command. */
export interface StartOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** A program and its arguments that start the rest of the command line: `taskset -c 0`. */
  readonly through?: readonly string[];
  /** Shell commands that come first, in the same process: `ulimit -f 100`. */
  readonly limits?: string;
  /** It is killed after so many ms; less than a test may take, if absent. */
  readonly deadlineMs?: number;
  /** On a terminal of 80 × 24, by util-linux's `script`. */
  readonly terminal?: boolean;
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** The program and its arguments that start linecard with `args`. */
function commandLine(args: readonly string[], { through = [], limits, terminal = false }: StartOptions): string[] {
  const all = [...through, process.execPath, MAIN, ...args];
  if (terminal) return ['script', '-qec', `stty cols 80 rows 24; ${all.map(quoted).join(' ')}`, '/dev/null'];
  return limits === undefined ? all : ['sh', '-c', `${limits}; exec "$@"`, 'sh', ...all];
}

/** A command that runs. */
export class Command {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';
  private readonly listeners = new Set<() => void>();

  constructor(args: readonly string[], options: StartOptions = {}) {
    const [file, ...rest] = commandLine(args, options);
    const env = { ...process.env, LINECARD_DEBUG: '', NO_COLOR: '', ...options.env };
    this.child = spawn(file, rest, { cwd: options.cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.heard('stdout', text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => this.heard('stderr', text));
    const late = setTimeout(() => this.child.kill('SIGKILL'), options.deadlineMs ?? DEADLINE_MS);
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => {
        clearTimeout(late);
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
        for (const listener of [...this.listeners]) listener();
      });
    });
    onTestFinished(async () => {
      this.child.kill('SIGKILL');
      await this.ended;
    });
  }

  /** Sends a signal to this very process. */
  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Resolves once standard output (or error) matches; fails when the command ends before. */
  async says(text: RegExp, stream: 'stdout' | 'stderr' = 'stdout'): Promise<void> {
    const over = this.ended.then(() => {
      if (!text.test(this[stream])) throw new Error(`it ended without saying ${text}:\n${this.stdout}\n${this.stderr}`);
    });
    over.catch(() => {}); // when it was said in time, nobody asks
    let listener = () => {};
    const said = new Promise<void>((resolve) => {
      listener = () => {
        if (text.test(this[stream])) resolve();
      };
      this.listeners.add(listener);
      listener();
    });
    await Promise.race([said, over]);
    this.listeners.delete(listener);
  }

  private heard(stream: 'stdout' | 'stderr', text: string): void {
    this[stream] += text;
    for (const listener of [...this.listeners]) listener();
  }
}

/** Runs a command to its end. */
export const linecard = (args: readonly string[], options?: StartOptions): Promise<Ended> =>
  new Command(args, options).ended;

/** A folder of the running test, removed after it; returns a function that gives paths in it. */
export function testFolder(): (name: string) => string {
  const folder = mkdtempSync(join(tmpdir(), 'linecard-cli-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return (name) => join(folder, name);
}

/** The last line of `-j`: the summary. */
// biome-ignore lint/suspicious/noExplicitAny: JSON of the command, looked at by expectations
export const summaryOf = ({ stdout }: Ended): any => JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');

/** All lines of `-j`. */
// biome-ignore lint/suspicious/noExplicitAny: JSON of the command, looked at by expectations
export const objectsOf = ({ stdout }: Ended): any[] =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

/** Expects that the command ended well, with its books balanced. */
export function expectSuccess(ended: Ended): void {
  expect(ended, ended.stdout.slice(-3000)).toMatchObject({ code: 0, signal: null, stderr: '' });
  if (!ended.stdout.startsWith('{')) expect(ended.stdout).toContain('Ledger: balanced');
  else expect(summaryOf(ended).ledger).toMatchObject({ balanced: true, errors: [] });
}
