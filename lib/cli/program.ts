/** The command line: its commands, what it does with wrong ones, and with errors. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { SystemError } from '../errors.ts';
import type { Action } from './action.ts';
import { bindCommand, unbindCommand } from './commands/bind.ts';
import { demoCommand } from './commands/demo.ts';
import { doctorCommand } from './commands/doctor.ts';
import { genCommand } from './commands/gen.ts';
import { grantCommand } from './commands/grant.ts';
import { l2fwdCommand } from './commands/l2fwd.ts';
import { planCommand } from './commands/plan.ts';
import { reloadCommand } from './commands/reload.ts';
import { selftestCommand } from './commands/selftest.ts';
import { sinkCommand } from './commands/sink.ts';
import { statusCommand } from './commands/status.ts';
import { superviseCommand } from './commands/supervise.ts';
import { EXIT, errorJson, errorText, exitCodeOf, usageError } from './failure.ts';
import { EXIT_CODES_HELP } from './help.ts';
import type { Terminal } from './terminal.ts';

/** Runs the command line `args` (without node and the script); resolves to the exit code. */
export async function runProgram(args: readonly string[], terminal: Terminal): Promise<number> {
  const code = await runCommand(args, terminal);
  await terminal.written();
  return outputIntact(terminal) ? code : code || EXIT.failed;
}

/** False, and says so, when the output could not be written; that its reader has gone is no failure. */
function outputIntact(terminal: Terminal): boolean {
  const { outputError: cause } = terminal;
  if (cause === undefined || cause.code === 'EPIPE') return true;
  const text = { what: 'standard output', why: cause.message, fix: 'see where the output goes' };
  terminal.err(`${errorText(new SystemError('OUTPUT_FAILED', text, { cause }), terminal.env)}\n`);
  return false;
}

async function runCommand(args: readonly string[], terminal: Terminal): Promise<number> {
  let code: number = EXIT.ok;
  const program = makeProgram(terminal, async (body) => {
    code = await body(terminal);
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (thrown) {
    // Help and version were asked for, and have been written.
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return EXIT.ok;
    // A command was missing: the help was written to standard error instead.
    if (thrown instanceof CommanderError && thrown.code === 'commander.help') return EXIT.usage;
    const error = thrown instanceof CommanderError ? fromCommander(thrown, args) : thrown;
    if (wantsJson(args)) terminal.out(`${errorJson(error)}\n`);
    else terminal.err(`${errorText(error, terminal.env)}\n`);
    return exitCodeOf(error);
  }
}

function makeProgram(terminal: Terminal, action: Action): Command {
  const program = new Command('linecard')
    .description('A user-space packet engine: forward, generate and check packets from the command line.')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .addHelpText('after', `\n"linecard help COMMAND" shows a command’s options and port names.\n${EXIT_CODES_HELP}`);
  for (const make of [
    l2fwdCommand,
    demoCommand,
    genCommand,
    sinkCommand,
    planCommand,
    selftestCommand,
    statusCommand,
    grantCommand,
    bindCommand,
    unbindCommand,
    superviseCommand,
    reloadCommand,
    doctorCommand,
  ]) {
    program.addCommand(make(action));
  }
  for (const command of [program, ...program.commands]) prepare(command, terminal);
  return program;
}

/** Errors are thrown, not printed; help goes to the terminal, in its width. */
function prepare(command: Command, terminal: Terminal): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => terminal.out(text),
    writeErr: (text) => terminal.err(text),
    outputError: () => {},
    getOutHelpWidth: () => terminal.size().columns,
    getErrHelpWidth: () => terminal.size().columns,
    getOutHasColors: () => false,
  });
  if (command.name() !== 'linecard') command.helpOption('-h, --help', 'show help');
}

/** The package's own version. */
function version(): string {
  // lib/cli in the sources, dist/lib/cli when built.
  for (const place of ['../../package.json', '../../../package.json']) {
    try {
      return String(JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8')).version);
    } catch {
      // the other one
    }
  }
  return 'unknown';
}

const wantsJson = (args: readonly string[]): boolean =>
  args.some((arg) => arg === '--json' || /^-[A-Za-z]*j$/.test(arg));

/** What commander found, as an error of ours: `error: unknown option '--tiem'\n(Did you mean --time?)`. */
function fromCommander({ message }: CommanderError, args: readonly string[]): Error {
  const [first = '', ...rest] = message.split('\n');
  const why = first
    .replace(/^error: /, '')
    .replace(/\. Expected (.*)\.$/, ' (expected $1)')
    .replaceAll("'", '"');
  const meant = /\(Did you mean (.*)\?\)/.exec(rest.join(' '))?.[1];
  const command = args.find((arg) => !arg.startsWith('-'));
  const help = `"linecard ${command === undefined || why.startsWith('unknown command') ? '' : `${command} `}--help" shows what there is`;
  return usageError('command line', why, meant === undefined ? help : `did you mean ${meant}? ${help}`);
}
