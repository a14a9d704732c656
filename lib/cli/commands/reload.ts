/** `linecard reload`: exchanges a driver of a running engine for another release of it. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import { loadNative } from '../../../native/index.ts';
import { askEngine } from '../../control/client.ts';
import type { Reloaded } from '../../control/reload.ts';
import type { Action } from '../action.ts';
import { EXIT } from '../failure.ts';
import { type Json, toJson } from '../json.ts';
import { plural } from '../text.ts';
import { moduleName } from '../values.ts';

interface Flags {
  readonly socket: string;
  readonly older?: boolean;
  readonly json?: boolean;
}

const HOW = {
  kept: 'its rings went on',
  anew: 'reset, and set up anew',
  unbound: 'unbound: this release could not take it over',
} as const;

function lines({ driver, before, version, devices, lost, ms }: Reloaded): string[] {
  const summary = `${plural(devices.length, 'device')}, ${plural(lost, 'frame')} lost, ${ms.toFixed(0)} ms`;
  return [
    `${driver} ${before} → ${version}: ${summary}`,
    ...devices.map(({ device, how, error }) => `  ${device}: ${HOW[how]}${error === undefined ? '' : ` (${error})`}`),
  ];
}

const HELP = `
The engine was started with --control PATH (linecard l2fwd). MODULE is a
JavaScript module whose export is a driver of that name, or a function that
makes one; without #EXPORT, its default export. Rings go on where both releases
state the same handover; else each device is reset, and set up anew. A queue
half (queue.js) that has changed needs a file name that it did not have before:
workers load each file once.

Example:
  linecard l2fwd --control /run/linecard-l2fwd.sock pci:01:00.0 pci:02:00.0
  linecard reload --socket /run/linecard-l2fwd.sock virtio-net ./next/device.js
`;

/** Makes the command. */
export function reloadCommand(action: Action): Command {
  return new Command('reload')
    .description('exchange a driver of a running engine for another release of it, while packets flow')
    .argument('<driver>', 'its name, as "linecard status" lists it')
    .argument('<module>', 'module of the other release: PATH or PATH#EXPORT', moduleName('module'))
    .requiredOption('--socket <path>', 'the engine’s control socket')
    .option('--older', 'also to an earlier release than the one that runs')
    .option('-j, --json', 'one JSON object')
    .addHelpText('after', HELP)
    .action((driver: string, module: { readonly module: string; readonly export?: string }, flags: Flags) =>
      action(async (terminal) => {
        const { socket, older = false, json = false } = flags;
        const path = module.module.startsWith('file:') ? module.module : resolve(module.module);
        const request = { type: 'reload', driver, module: path, export: module.export ?? 'default', older } as const;
        const done = (await askEngine(loadNative(), socket, request)) as unknown as Reloaded;
        terminal.out(json ? `${toJson(done as unknown as Json)}\n` : `${lines(done).join('\n')}\n`);
        return done.devices.every(({ how }) => how !== 'unbound') ? EXIT.ok : EXIT.failed;
      }),
    );
}
