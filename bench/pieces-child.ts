/** Entry of the process that times the small pieces: `pieces-child.js TIME_MS SUBJECT…`; prints JSON. */
import { runPieces } from './pieces.ts';

const [timeMs, ...subjects] = process.argv.slice(2);
process.stdout.write(`${JSON.stringify(await runPieces(subjects, Number(timeMs)))}\n`);
