/** Drives the engine for a command: opens the ports, runs the jobs, shows the figures, stops in order. */
import { loadNative } from '../../native/index.ts';
import { Reloader } from '../control/reload.ts';
import { ControlServer } from '../control/server.ts';
import type { Engine } from '../engine/engine.ts';
import type { RunResult } from '../engine/results.ts';
import type { EngineOptions, JobSpec } from '../engine/types.ts';
import { KeeperLink } from '../keeper/link.ts';
import { KEEPER_VARIABLE } from '../keeper/protocol.ts';
import type { Pktio } from '../pktio/types.ts';
import { type Display, makeDisplay } from './display.ts';
import { EXIT } from './failure.ts';
import { figures, type Subject } from './figures.ts';
import { openPorts, type PortWish, portNotes, withEngine } from './ports.ts';
import { isFailure, Stopping, type StopReason } from './stopping.ts';
import { type Outcome, succeeded } from './summary.ts';
import type { Terminal } from './terminal.ts';
import { Troubles } from './troubles.ts';
import { judge, type Verdict } from './verdict.ts';

/** Settles what only open ports can tell, before they are started; returns what is to be said about it. */
export type Settle = (jobs: readonly JobSpec[], ports: ReadonlyMap<string, Pktio>) => readonly string[];

/** What a command wants done. */
export interface Work {
  /** The command's name. */
  readonly title: string;
  /** What is going to happen, for people. */
  readonly intro?: readonly string[];
  readonly engine: EngineOptions;
  readonly ports: readonly PortWish[];
  readonly jobs: readonly JobSpec[];
  readonly settle?: Settle;
  /** Path at which it can be asked to reload drivers. */
  readonly control?: string;
  /** `judge` if absent. */
  readonly judge?: (jobs: readonly JobSpec[], result: RunResult) => Verdict | undefined;
}

/** How it is shown, and for how long. */
export interface Pace {
  /** Seconds between two looks; 0: none before the summary. */
  readonly period: number;
  /** Seconds until it ends; 0: not by itself. */
  readonly time: number;
  readonly json: boolean;
}

/** Does `work` until its sources have ended, the time is up, a signal comes, or a port fails. Returns the exit code. */
export async function drive(work: Work, pace: Pace, terminal: Terminal): Promise<number> {
  const display = makeDisplay(terminal, work.title, pace.json);
  const stopping = new Stopping(terminal);
  let keeper: KeeperLink | undefined;
  let control: ControlServer | undefined;
  try {
    keeper = keeperOf(terminal);
    const troubles = new Troubles(display, stopping);
    if (keeper !== undefined) troubles.watchKeeper(keeper);
    const done = await withEngine({ ...work.engine, ...(keeper === undefined ? {} : { keeper }) }, async (engine) => {
      const ports = await openPorts(engine, work.ports);
      troubles.watchPorts(ports);
      control = work.control === undefined ? undefined : controlAt(work.control, engine, display);
      // Before anything is started: asked to stop already.
      if (stopping.first !== undefined) return !isFailure(stopping.first);
      const jobs = withNames(
        work,
        ports.map((port) => port.name),
      );
      const outcome = await run(engine, { work: { ...work, jobs }, pace, display, stopping, troubles });
      if (outcome === undefined) return !isFailure(stopping.first);
      troubles.tellRest(outcome.result);
      display.summary(outcome);
      return succeeded(outcome);
    });
    return done ? EXIT.ok : EXIT.failed;
  } finally {
    control?.close();
    keeper?.close();
    stopping.dispose();
  }
}

/** The way to the process that supervises this one, if one does. */
function keeperOf({ env }: Terminal): KeeperLink | undefined {
  const fd = env[KEEPER_VARIABLE];
  return fd === undefined || fd === '' ? undefined : new KeeperLink(loadNative(), Number(fd));
}

/** Listens for reloads. */
function controlAt(path: string, engine: Engine, display: Display): ControlServer {
  const reloader = new Reloader(engine);
  return new ControlServer(loadNative(), path, {
    async answer(request) {
      const done = await reloader.reload(request);
      display.happened('driver-replaced', done.driver, `driver ${done.driver}: ${done.before} → ${done.version}`);
      return done;
    },
    refused: ({ pid, uid }, why) =>
      display.happened('control-refused', pid, `control socket: turned away process ${pid} of uid ${uid}: ${why}`),
    failed: (error) => display.happened('control-failed', '', '', error),
  });
}

/** The jobs with the names that the ports have: those that were typed may have options. */
function withNames({ jobs, ports }: Work, names: readonly string[]): JobSpec[] {
  const real = new Map(ports.map(({ name }, i) => [name, names[i]]));
  const nameOf = (name: string): string => real.get(name) ?? name;
  return jobs.map(({ rx, tx, ...job }) => ({
    ...job,
    ...(rx === undefined ? {} : { rx: { ...rx, port: nameOf(rx.port) } }),
    ...(tx === undefined ? {} : { tx: tx.map(nameOf) }),
  }));
}

interface Means {
  readonly work: Work;
  readonly pace: Pace;
  readonly display: Display;
  readonly stopping: Stopping;
  readonly troubles: Troubles;
}

/** Undefined when it was asked to stop before packets flowed. */
async function run(engine: Engine, { work, pace, display, stopping, troubles }: Means): Promise<Outcome | undefined> {
  const { jobs } = work;
  const subject: Subject = { ports: [...engine.ports.keys()], jobs };
  display.intro(work.intro ?? []);
  const settled = work.settle?.(jobs, engine.ports) ?? [];
  const starting = engine.run(jobs);
  const active = await Promise.race([starting, stopping.requested.then(() => undefined)]);
  if (active === undefined) {
    // Closing the engine takes back what has been started so far.
    starting.catch(() => {});
    return undefined;
  }
  display.notes([...settled.map((text) => ({ port: '', text })), ...portNotes(engine.ports.values())]);
  troubles.watchRun(active);
  if (pace.time > 0) stopping.after(pace.time);
  const portOf = (name: string) => engine.ports.get(name);
  let before = active.stats();
  const look = () => {
    const now = active.stats();
    display.period(figures(subject, now, before, portOf));
    before = now;
  };
  const ticker = pace.period > 0 ? setInterval(look, pace.period * 1000) : undefined;
  const reason: StopReason = await Promise.race([stopping.requested, active.done.then(() => 'sources' as const)]);
  clearInterval(ticker);
  const result = await active.stop();
  const kernel = new Map([...engine.ports].map(([name, port]) => [name, port.extraStats?.() ?? {}]));
  return { subject, reason, result, kernel, verdict: (work.judge ?? judge)(jobs, result) };
}
