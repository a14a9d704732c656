/** The status as text. Pure. */
import type { Framework } from '../framework/framework.ts';
import type { Api, Attempt, Device, Explanation } from '../framework/types.ts';
import { errorLine } from './failure.ts';
import { type Column, table } from './text.ts';

/** What became of a port name that was asked for. */
export interface Asked {
  readonly name: string;
  readonly error?: unknown;
}

/** Everything that the command shows. */
export interface Status {
  readonly explanations: readonly { readonly device: Device; readonly explanation: Explanation }[];
  readonly asked: readonly Asked[];
  readonly framework: Pick<Framework, 'drivers' | 'devios' | 'enumerators' | 'classes'>;
}

/** `devio-memory v1` */
const apiText = ({ name, version }: Api): string => `${name} v${version}`;

const named = (...titles: string[]): Column[] => titles.map((title) => ({ title }));

/** A heading and an indented table below it. */
const section = (title: string, columns: readonly Column[], rows: readonly (readonly string[])[]): string[] => [
  title,
  ...table(columns, rows).map((line) => `  ${line}`),
];

/** Devices and why they are bound as they are, errors of names that were asked for, then what is registered. */
export function statusLines({ explanations, asked, framework }: Status): string[] {
  const drivers = framework
    .drivers()
    .map((d) => [
      d.name,
      d.version,
      String(d.priority),
      idsText(d.enumeratorClass, d.ids),
      d.devios.map(apiText).join(', '),
    ]);
  const devios = framework
    .devios()
    .map((d) => [d.name, d.version, apiText(d.api), d.backend, apiText(d.enumeratorApi)]);
  const enumerators = framework
    .enumerators()
    .map((e) => [`${e.class}/${e.name}`, e.version, apiText(e.api), e.portNames ?? '-']);
  const errors = asked.flatMap(({ error }) => (error === undefined ? [] : [errorLine(error)]));
  const reasons = explanations.flatMap(({ explanation }) => explanationLines(explanation));
  return [
    ...deviceLines(explanations.map(({ device }) => device)),
    ...(errors.length === 0 ? [] : ['', ...errors]),
    ...(reasons.length === 0 ? [] : ['', ...reasons]),
    '',
    ...section('Drivers', named('Driver', 'Version', 'Priority', 'For', 'Through any of'), drivers),
    '',
    ...section('Devios', named('Devio', 'Version', 'Offers', 'By', 'Reaches'), devios),
    '',
    ...section('Enumerators', named('Enumerator', 'Version', 'Offers', 'Port names'), enumerators),
  ];
}

function deviceLines(devices: readonly Device[]): string[] {
  const there = devices.filter(({ state }) => state !== 'removed');
  if (there.length === 0) return ['Devices: none', '  some exist once they are asked for: linecard status PORT…'];
  const rows = there.map(({ id, state, driver, devio }) => [
    id,
    state,
    driver ?? '-',
    devio === undefined ? '-' : apiText(devio.api),
  ]);
  return section('Devices', named('Device', 'State', 'Driver', 'Devio'), rows);
}

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

function explanationLines({ summary, state, attempts }: Explanation): string[] {
  const serious = attempts.filter(({ stage }) => !NOT_MEANT.includes(stage));
  // A single attempt is what the summary is about; of a device that has gone, what the error is about.
  if (serious.length < 2) return state === 'removed' ? [] : [summary];
  return [summary, ...serious.map(attemptLine)];
}

function attemptLine({ driver, driverVersion, devio, backend, stage, reason }: Attempt): string {
  const through = devio === '' ? '' : ` through ${devio}${backend === '' ? '' : ` (${backend})`}`;
  return `  ${driver} ${driverVersion}${through}: ${stage}${reason === '' ? '' : `: ${reason}`}`;
}
