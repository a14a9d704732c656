#!/usr/bin/env node
/** The `linecard` program. */
import { runProgram } from './program.ts';
import { SystemTerminal } from './terminal.ts';

process.exitCode = await runProgram(process.argv.slice(2), new SystemTerminal());
