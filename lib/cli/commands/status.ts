/** `linecard status`: devices, what each is bound to and why not; drivers, devios and enumerators with their versions. */
import { Command } from 'commander';
import type { Engine } from '../../engine/engine.ts';
import type { Device, Explanation } from '../../framework/types.ts';
import type { Action } from '../action.ts';
import { EXIT, errorData } from '../failure.ts';
import { PORT_NAMES_HELP } from '../help.ts';
import { type Json, toJson } from '../json.ts';
import { explained, portNotes, withEngine } from '../ports.ts';
import { type Asked, type Seen, type Status, statusLines } from '../status-text.ts';

async function look(engine: Engine, names: readonly string[]): Promise<Status> {
  const { framework } = engine;
  const gone = new Map<Device, Explanation>();
  // A device that was made for a name and not bound is removed again at once: what was tried is known only then.
  const forget = framework.on((event) => {
    if (event.type === 'device-removed') gone.set(event.device, framework.explain(event.device));
  });
  const asked: Asked[] = [];
  for (const name of names) {
    try {
      const { pktio } = await explained(engine, name, () => framework.request(name));
      asked.push({ name, notes: pktio === undefined ? [] : portNotes([pktio]) });
    } catch (error) {
      asked.push({ name, error });
    }
  }
  forget();
  const there: Seen[] = [];
  for (const device of framework.devices()) {
    const details = await framework.details(device).catch(() => ({}));
    there.push({ device, explanation: framework.explain(device), details });
  }
  return {
    explanations: [...there, ...[...gone].map(([device, explanation]) => ({ device, explanation, details: {} }))],
    asked,
    framework,
  };
}

function statusJson({ explanations, asked, framework }: Status): string {
  const listed = <T extends object>(list: readonly T[]) =>
    list.map((item) => ({ ...item }) as unknown as { readonly [key: string]: Json });
  return toJson({
    devices: explanations.map(({ device, explanation, details }) => ({
      id: device.id,
      state: device.state,
      driver: device.driver,
      devio: device.devio === undefined ? undefined : { ...device.devio, api: { ...device.devio.api } },
      facts: { ...device.facts },
      details: { ...details },
      summary: explanation.summary,
      attempts: listed(explanation.attempts),
    })),
    ports: asked.map(({ name, error, notes = [] }) => ({
      port: name,
      notes: notes.map(({ text }) => text),
      error: error === undefined ? undefined : { ...errorData(error) },
    })),
    drivers: listed(framework.drivers()),
    devios: listed(framework.devios()),
    enumerators: listed(framework.enumerators()),
    classes: listed(framework.classes()),
  });
}

/** Makes the command. */
export function statusCommand(action: Action): Command {
  return new Command('status')
    .description('list devices, what each is bound to and why not; drivers, devios, enumerators')
    .argument('[port...]', 'ports to ask for and explain; they are closed again at once')
    .option('-j, --json', 'one JSON object')
    .addHelpText('after', PORT_NAMES_HELP)
    .action((names: string[], { json = false }: { json?: boolean }) =>
      action((terminal) =>
        withEngine({}, async (engine) => {
          const status = await look(engine, names);
          terminal.out(
            json ? `${statusJson(status)}\n` : `${statusLines(status, terminal.size().columns).join('\n')}\n`,
          );
          return status.asked.some(({ error }) => error !== undefined) ? EXIT.failed : EXIT.ok;
        }),
      ),
    );
}
