/** `linecard plan`: says which worker would run which queues on which cpu, and runs nothing. */
import { Command } from 'commander';
import type { Assignment, JobSpec } from '../../engine/types.ts';
import type { Action } from '../action.ts';
import { jobLabel } from '../figures.ts';
import { PORT_NAMES_HELP } from '../help.ts';
import { toJson } from '../json.ts';
import { addEngineOptions, addPaceOptions, addPortOptions, engineOptions, portWishes } from '../options.ts';
import { type Note, openPorts, portNotes, withEngine } from '../ports.ts';
import { table, wrap } from '../text.ts';
import { addForwardOptions, type ForwardFlags, jobsOf } from './l2fwd.ts';

/** The assignment as a table: a line per rx queue. */
export function planLines(jobs: readonly JobSpec[], { workers, txQueues }: Assignment): string[] {
  const queue = ({ port, queue }: { port: string; queue: number }) => `${port} queue ${queue}`;
  const rows = workers.flatMap(({ cpu, jobs: mine }, worker) =>
    mine.map(({ job, rx, tx }) => [
      String(worker),
      String(cpu),
      rx === null ? '-' : queue(rx),
      jobLabel(jobs[job]),
      tx.map(queue).join(', '),
    ]),
  );
  const columns = [
    { title: 'Worker', align: 'right' as const },
    { title: 'Cpu', align: 'right' as const },
    { title: 'Receives from', most: 40 },
    { title: 'Runs', most: 30 },
    { title: 'Sends to' },
  ];
  const tx = Object.entries(txQueues).map(([port, n]) => `${port} ${n}`);
  return [...table(columns, rows), '', `Tx queues: ${tx.join(', ') || 'none'}`];
}

/** The assignment for programs. */
export function planJson(
  jobs: readonly JobSpec[],
  { workers, txQueues }: Assignment,
  notes: readonly Note[] = [],
): string {
  const list = workers.map(({ cpu, jobs: mine }, worker) => {
    const queues = mine.map(({ job, rx, tx }) => ({
      job,
      app: jobLabel(jobs[job]),
      rx: rx === null ? null : { ...rx },
      tx: tx.map((t) => ({ ...t })),
    }));
    return { worker, cpu, jobs: queues };
  });
  return toJson({ workers: list, txQueues, notes: notes.map((note) => ({ ...note })) });
}

/** Makes the command. */
export function planCommand(action: Action): Command {
  const command = new Command('plan')
    .description('say where l2fwd would run, without running it')
    .argument('<port...>', 'port names');
  addPaceOptions(addEngineOptions(addPortOptions(addForwardOptions(command)))).addHelpText('after', PORT_NAMES_HELP);
  return command.action((names: string[], flags: ForwardFlags) =>
    action(async (terminal) => {
      const jobs = jobsOf(names, flags);
      const { assignment, notes } = await withEngine(engineOptions(flags), async (engine) => {
        const ports = await openPorts(engine, portWishes(names, flags));
        return { assignment: engine.plan(jobs), notes: portNotes(ports) };
      });
      const { columns } = terminal.size();
      const lines = [...planLines(jobs, assignment), ...notes.flatMap(({ text }) => ['', ...wrap(text, columns)])];
      terminal.out(flags.json ? `${planJson(jobs, assignment, notes)}\n` : `${lines.join('\n')}\n`);
      return 0;
    }),
  );
}
