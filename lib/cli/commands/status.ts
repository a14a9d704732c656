/** `linecard status`: devices, what each is bound to and why not; drivers, devios and enumerators with their versions. */
import { Command } from 'commander';
import type { Engine } from '../../engine/engine.ts';
import type { Api, Attempt, Device, Explanation } from '../../framework/types.ts';
import type { Action } from '../action.ts';
import { EXIT, errorData, errorLine } from '../failure.ts';
import { PORT_NAMES_HELP } from '../help.ts';
import { type Json, toJson } from '../json.ts';
import { explained, withEngine } from '../ports.ts';
import { table } from '../text.ts';

/** What became of a port name that was asked for. */
interface Asked {
  readonly name: string;
  readonly error?: unknown;
}

/** Everything that the command shows. */
interface Status {
  readonly explanations: readonly { readonly device: Device; readonly explanation: Explanation }[];
  readonly asked: readonly Asked[];
  readonly engine: Engine;
}

/** `devio-memory v1` */
const apiText = ({ name, version }: Api): string => `${name} v${version}`;

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
      await explained(engine, name, () => framework.request(name));
      asked.push({ name });
    } catch (error) {
      asked.push({ name, error });
    }
  }
  forget();
  const there = framework.devices().map((device) => ({ device, explanation: framework.explain(device) }));
  return {
    explanations: [...there, ...[...gone].map(([device, explanation]) => ({ device, explanation }))],
    asked,
    engine,
  };
}

function statusLines({ explanations, asked, engine }: Status): string[] {
  const { framework } = engine;
  const devices = explanations.map(({ device, explanation }) => [
    device.id,
    device.state,
    device.driver ?? '-',
    device.devio === undefined ? '-' : apiText(device.devio.api),
    explanation,
  ]);
  const title = (text: string, rows: readonly unknown[]) => `${text}${rows.length === 0 ? ': none' : ''}`;
  const rows = devices.map((row) => row.slice(0, 4) as string[]);
  const failed = asked.flatMap(({ error }) => (error === undefined ? [] : [errorLine(error)]));
  const reasons = explanations.flatMap(({ explanation }) => explanationLines(explanation));
  return [
    title('Devices', rows),
    ...(rows.length === 0
      ? ['  ports here exist once they are asked for: linecard status PORT…']
      : indent(table(named('Device', 'State', 'Driver', 'Devio'), rows))),
    ...(failed.length === 0 ? [] : ['', ...failed]),
    ...(reasons.length === 0 ? [] : ['', ...reasons]),
    '',
    'Drivers',
    ...indent(
      table(
        named('Driver', 'Version', 'Priority', 'For', 'Through any of'),
        framework
          .drivers()
          .map((d) => [
            d.name,
            d.version,
            String(d.priority),
            idsText(d.enumeratorClass, d.ids),
            d.devios.map(apiText).join(', '),
          ]),
      ),
    ),
    '',
    'Devios',
    ...indent(
      table(
        named('Devio', 'Version', 'Offers', 'By', 'Reaches'),
        framework.devios().map((d) => [d.name, d.version, apiText(d.api), d.backend, apiText(d.enumeratorApi)]),
      ),
    ),
    '',
    'Enumerators',
    ...indent(
      table(
        named('Enumerator', 'Version', 'Offers', 'Port names'),
        framework.enumerators().map((e) => [`${e.class}/${e.name}`, e.version, apiText(e.api), e.portNames ?? '-']),
      ),
    ),
  ];
}

const named = (...titles: string[]) => titles.map((title) => ({ title }));
const indent = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);

function idsText(enumeratorClass: string, ids: readonly Readonly<Record<string, unknown>>[]): string {
  const texts = ids.map((id) =>
    Object.entries(id)
      .map(([key, value]) => `${key}=${value}`)
      .join(' '),
  );
  return `${enumeratorClass} ${texts.join(' | ')}`.trimEnd();
}

/** Stages at which a driver or devio turns out to be for other devices altogether. */
const NOT_MEANT = ['class', 'ids', 'devio', 'enumerator-api'];

function explanationLines({ summary, attempts }: Explanation): string[] {
  const serious = attempts.filter(({ stage }) => !NOT_MEANT.includes(stage));
  // A single attempt is what the summary is about.
  if (serious.length < 2) return [summary];
  return [summary, ...serious.map(attemptLine)];
}

function attemptLine({ driver, driverVersion, devio, backend, stage, reason }: Attempt): string {
  const through = devio === '' ? '' : ` through ${devio}${backend === '' ? '' : ` (${backend})`}`;
  return `  ${driver} ${driverVersion}${through}: ${stage}${reason === '' ? '' : `: ${reason}`}`;
}

function statusJson({ explanations, asked, engine }: Status): string {
  const { framework } = engine;
  const listed = <T extends object>(list: readonly T[]) =>
    list.map((item) => ({ ...item }) as unknown as { readonly [key: string]: Json });
  return toJson({
    devices: explanations.map(({ device, explanation }) => ({
      id: device.id,
      state: device.state,
      driver: device.driver,
      devio: device.devio === undefined ? undefined : { ...device.devio, api: { ...device.devio.api } },
      facts: { ...device.facts },
      summary: explanation.summary,
      attempts: listed(explanation.attempts),
    })),
    ports: asked.map(({ name, error }) => ({
      port: name,
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
          terminal.out(json ? `${statusJson(status)}\n` : `${statusLines(status).join('\n')}\n`);
          return status.asked.some(({ error }) => error !== undefined) ? EXIT.failed : EXIT.ok;
        }),
      ),
    );
}
