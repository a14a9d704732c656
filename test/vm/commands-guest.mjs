// Runs in a guest: command lines of linecard, one after the other, in one process, since starting Node takes seconds there.
// One argument, JSON: a list of argument lists. Ends with the first that fails. Prints what came of each as JSON.
import { runProgram } from '../../dist/lib/cli/program.js';

/** A terminal that writes into `said`. */
const terminal = (said) => ({
  env: process.env,
  interactive: false,
  outputError: undefined,
  size: () => ({ columns: 80, rows: 24 }),
  out: (text) => {
    said.out += text;
  },
  err: (text) => {
    said.err += text;
  },
  style: (_, text) => text,
  written: async () => {},
  onOutputError: () => () => {},
  onSignal: () => () => {},
  exit: process.exit,
});

const results = [];
for (const args of JSON.parse(process.argv[2])) {
  const said = { out: '', err: '' };
  const began = performance.now();
  const code = await runProgram(args, terminal(said));
  results.push({ args, code, ...said, seconds: (performance.now() - began) / 1000 });
  if (code !== 0) break;
}
console.log(JSON.stringify(results));
