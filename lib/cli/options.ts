/** Options that several commands share, and what they mean to the engine and its ports. */
import { type Command, Option } from 'commander';
import type { EngineOptions, PollMode } from '../engine/types.ts';
import type { PortConfig } from '../pktio/types.ts';
import type { Pace } from './drive.ts';
import { usageError } from './failure.ts';
import type { PortWish } from './ports.ts';
import { byteSize, cpuList, oneOf, seconds, wholeNumber } from './values.ts';

/** Longest period and running time, in seconds: a day, as DPDK's; and what a timer can wait for. */
const MOST_PERIOD = 86_400;
const MOST_TIME = 2_000_000;
/** Bytes before a packet in a frame, and beyond the MTU: Ethernet header and a VLAN tag. See `FramePoolOptions`. */
const HEADROOM = 256;
const L2_BYTES = 18;
const DEFAULT_FRAME = 2048;
const MOST_FRAME = 65_536;

/** Options of the engine, as commander collects them. */
export interface EngineFlags {
  readonly burst?: number;
  readonly cpus?: readonly number[];
  readonly mode?: PollMode;
  readonly idleUs?: number;
  readonly frames?: number;
  readonly frameSize?: number;
  readonly arena?: number;
  readonly hugepages?: 'no' | 'try' | 'need';
  readonly mtu?: number;
}

/** Options of ports, as commander collects them. */
export interface PortFlags {
  readonly q?: number;
  readonly P?: boolean;
  readonly mtu?: number;
  readonly rxd?: number;
  readonly txd?: number;
}

/** Options of how it is shown. */
export interface PaceFlags {
  readonly T?: number;
  readonly time?: number;
  readonly json?: boolean;
}

/** Without the keys that have no value. */
export function given<T>(options: Readonly<Record<string, T | undefined>>): Record<string, T> {
  return Object.fromEntries(Object.entries(options).filter((entry): entry is [string, T] => entry[1] !== undefined));
}

/** Adds `-T`, `--time` and `-j`. */
export function addPaceOptions(command: Command, time = 0): Command {
  return command
    .optionsGroup('Output:')
    .addOption(
      new Option('-T <period>', 'seconds between statistics; 0: none before the summary')
        .argParser(seconds('-T', { min: 0, max: MOST_PERIOD }))
        .default(1),
    )
    .addOption(
      new Option('--time <seconds>', 'end after so many seconds; 0: at Ctrl-C, or when all sources have ended')
        .argParser(seconds('--time', { min: 0, max: MOST_TIME }))
        .default(time),
    )
    .option('-j, --json', 'one JSON object per period and line, the summary last');
}

const MODE_HELP = 'busy: never sleep; adaptive: sleep when idle; interrupt: sleep at once (default: adaptive)';

/** Adds the engine's options. Ranges are the engine's to check: it says what would do. */
export function addEngineOptions(command: Command, modeHelp = MODE_HELP): Command {
  const any = { min: 0, max: Number.MAX_SAFE_INTEGER };
  return command
    .optionsGroup('Engine:')
    .addOption(
      new Option(
        '--cpus <list>',
        'cpus for the workers, such as 0,2-3; default: all that the process may use',
      ).argParser(cpuList('--cpus')),
    )
    .addOption(new Option('--mode <mode>', modeHelp).argParser(oneOf('--mode', ['busy', 'adaptive', 'interrupt'])))
    .addOption(
      new Option(
        '--idle-us <us>',
        'adaptive: microseconds without packets before a worker sleeps (default: 100)',
      ).argParser(wholeNumber('--idle-us', any)),
    )
    .addOption(
      new Option('--burst <n>', 'packets handled at once, 1 to 512 (default: 32)').argParser(
        wholeNumber('--burst', any),
      ),
    )
    .addOption(
      new Option('--frames <n>', 'frames in the pool (default: 16384)').argParser(wholeNumber('--frames', any)),
    )
    .addOption(
      new Option(
        '--frame-size <bytes>',
        'bytes per frame, a power of two (default: 2048, or what --mtu needs)',
      ).argParser(wholeNumber('--frame-size', any)),
    )
    .addOption(
      new Option(
        '--arena <bytes>',
        'addresses to reserve for frames and rings, such as 512M (default: 4G, its most)',
      ).argParser(byteSize('--arena')),
    )
    .addOption(
      new Option('--hugepages <when>', 'frames in 2 MiB pages: no, try or need (default: no)').argParser(
        oneOf('--hugepages', ['no', 'try', 'need']),
      ),
    );
}

/** Adds the ports' options; only those of any command when the command itself says how many `queues`, and who may be received. */
export function addPortOptions(command: Command, all = true): Command {
  const any = { min: 1, max: Number.MAX_SAFE_INTEGER };
  command.optionsGroup('Ports:');
  if (all) {
    command
      .addOption(
        new Option('-q <n>', 'rx queues per port, each with a worker where there are cpus (default: 1)').argParser(
          wholeNumber('-q', any),
        ),
      )
      .option('-P', 'promiscuous mode: receive whatever the address');
  }
  return command
    .addOption(
      new Option('--mtu <bytes>', 'largest layer 3 packet (default: the port’s own, mostly 1500)').argParser(
        wholeNumber('--mtu', any),
      ),
    )
    .addOption(new Option('--rxd <n>', 'descriptors per rx ring, a power of two').argParser(wholeNumber('--rxd', any)))
    .addOption(new Option('--txd <n>', 'descriptors per tx ring, a power of two').argParser(wholeNumber('--txd', any)));
}

/** The engine's options. Without a frame size, frames are as large as the MTU needs. */
export function engineOptions({
  burst,
  cpus,
  mode,
  idleUs,
  frames,
  frameSize,
  arena,
  hugepages,
  mtu = 0,
}: EngineFlags): EngineOptions {
  const bytes = mtu + L2_BYTES + HEADROOM;
  if (mtu > 0 && frameSize !== undefined && frameSize < bytes) {
    const why = `a packet of ${mtu} bytes takes ${bytes} with headers and headroom`;
    throw usageError('option --frame-size', why, 'leave it out: --mtu chooses it then, or lower the MTU');
  }
  const needed = 2 ** Math.ceil(Math.log2(bytes));
  // An MTU that no frame can hold is the port's to refuse.
  const size = frameSize ?? (needed > DEFAULT_FRAME && needed <= MOST_FRAME ? needed : undefined);
  return given<unknown>({ burst, cpus, mode, idleUs, frames, frameSize: size, arenaBytes: arena, hugepages });
}

/** The ports to open, each with the settings that were asked for. */
export function portWishes(names: readonly string[], { q, P: promiscuous, mtu, rxd, txd }: PortFlags): PortWish[] {
  const settings: Partial<PortConfig> = given<unknown>({ rxQueues: q, promiscuous, mtu, rxRing: rxd, txRing: txd });
  return names.map((name) => ({ name, settings }));
}

/** How it is shown. */
export const paceOf = ({ T = 1, time = 0, json = false }: PaceFlags): Pace => ({ period: T, time, json });
