/** The status as text. Pure. */
import type { Framework } from '../framework/framework.ts';
import type { Api, Attempt, Device, DeviceDetails, Explanation } from '../framework/types.ts';
import { errorLine } from './failure.ts';
import type { Note } from './ports.ts';
import { type Column, table, wrap } from './text.ts';

/** What became of a port name that was asked for. */
export interface Asked {
  readonly name: string;
  readonly error?: unknown;
  readonly notes?: readonly Note[];
}

/** A device, why it is bound as it is, and what its enumerator knows of it. */
export interface Seen {
  readonly device: Device;
  readonly explanation: Explanation;
  readonly details: DeviceDetails;
}

/** Everything that the command shows. */
export interface Status {
  readonly explanations: readonly Seen[];
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

/** Puts below each row of a section what is too long for a column. */
function withNotes([title, head, ...rows]: readonly string[], notes: readonly string[], width: number): string[] {
  const below = (note: string) => (note === '' ? [] : wrap(note, width - 4).map((line) => `    ${line}`));
  return [title, head, ...rows.flatMap((row, i) => [row, ...below(notes[i])])];
}

/** Devices and why they are bound as they are, errors of names that were asked for, then what is registered. */
export function statusLines({ explanations, asked, framework }: Status, width = 80): string[] {
  const drivers = framework.drivers();
  const driverRows = drivers.map((d) => [d.name, d.version, String(d.priority)]);
  const driverNotes = drivers.map(
    (d) => `for ${idsText(d.enumeratorClasses, d.ids)}, through ${d.devios.map(apiText).join(' or ')}`,
  );
  const devios = framework
    .devios()
    .map((d) => [d.name, d.version, apiText(d.api), d.backend, apiText(d.enumeratorApi)]);
  const enumerators = framework.enumerators();
  const enumeratorRows = enumerators.map((e) => [`${e.class}/${e.name}`, e.version, apiText(e.api)]);
  const enumeratorNotes = enumerators.map(({ portNames = '' }) => portNames.replaceAll('][,', '] [,'));
  const errors = asked.flatMap(({ error }) => (error === undefined ? [] : [errorLine(error)]));
  const notes = asked.flatMap((port) => port.notes ?? []);
  const reasons = reasonLines(explanations);
  return [
    ...deviceLines(explanations.map(({ device }) => device)),
    ...interfaceLines(explanations, width),
    ...(errors.length === 0 ? [] : ['', ...errors]),
    ...(reasons.length === 0 ? [] : ['', ...reasons.flatMap((line) => wrap(line, width))]),
    ...(notes.length === 0 ? [] : ['', ...notes.flatMap(({ text }) => wrap(text, width))]),
    '',
    ...withNotes(section('Drivers', named('Driver', 'Version', 'Priority'), driverRows), driverNotes, width),
    '',
    ...section('Devios', named('Devio', 'Version', 'Offers', 'By', 'Reaches'), devios),
    '',
    ...withNotes(
      section('Enumerators', named('Enumerator', 'Version', 'Offers'), enumeratorRows),
      enumeratorNotes,
      width,
    ),
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

/** `2`, or `4 rx 2 tx`. */
const queuesText = ({ rxQueues, txQueues }: DeviceDetails): string =>
  rxQueues === txQueues ? String(rxQueues) : `${rxQueues} rx ${txQueues} tx`;

/** The kernel's interfaces: what one looks for before one takes one. */
function interfaceLines(seen: readonly Seen[], width: number): string[] {
  const links = seen.filter(({ device, details }) => device.enumerator.class === 'netdev' && details.mtu !== undefined);
  if (links.length === 0) return [];
  const rows = links.map(({ device, details: d }) =>
    [device.address, d.state, d.mtu, d.driver || d.kind || '-', queuesText(d), d.xdp].map(String),
  );
  const [title, ...lines] = table(INTERFACE_COLUMNS, rows);
  const below = links.map(({ details }) => detailLines(details, width));
  return ['', 'Network interfaces', `  ${title}`, ...lines.flatMap((line, i) => [`  ${line}`, ...below[i]])];
}

const INTERFACE_COLUMNS: readonly Column[] = [
  { title: 'Interface', most: 15 },
  { title: 'State' },
  { title: 'MTU', align: 'right' },
  { title: 'Driver', most: 16 },
  { title: 'Queues' },
  { title: 'XDP' },
];

function detailLines(
  { mac, addresses, defaultRoute, xdp, xdpProgram, xdpOwner }: DeviceDetails,
  width: number,
): string[] {
  const list = Array.isArray(addresses) ? addresses : [];
  const parts = [
    ...(defaultRoute === true ? ['default route'] : []),
    ...(mac === '' ? [] : [`MAC ${mac}`]),
    ...(list.length === 0 ? ['no addresses'] : list),
  ];
  const program = xdp === 'none' ? [] : [`XDP program ${xdpProgram}${xdpOwner === '' ? '' : `: ${xdpOwner}`}`];
  return [parts.join(', '), ...program].flatMap((line) => wrap(line, width - 4).map((part) => `    ${part}`));
}

/** Facts that everybody knows in hexadecimal. */
const HEX = ['vendor', 'device'];

function idsText(classes: readonly string[], ids: readonly Readonly<Record<string, unknown>>[]): string {
  const texts = ids.map((id) =>
    Object.entries(id)
      .map(([key, value]) => `${key}=${HEX.includes(key) ? `0x${Number(value).toString(16)}` : value}`)
      .join(' '),
  );
  return `${classes.join(', ')} ${texts.join(' | ')}`.trimEnd();
}

/** Stages at which a driver or devio turns out to be for other devices altogether. */
const NOT_MEANT = ['class', 'ids', 'devio', 'enumerator-api'];

/** Devices named of those that have one reason. */
const EXAMPLES = 3;

/** Why devices are as they are. Those that are so for one reason, as interfaces are that nobody has asked for, share a line. */
function reasonLines(seen: readonly Seen[]): string[] {
  const groups = new Map<string, { readonly ids: string[]; readonly lines: readonly string[] }>();
  for (const { device, explanation } of seen) {
    const lines = explanationLines(explanation);
    if (lines.length === 0) continue;
    const ending = `:${device.address}`;
    const [summary] = lines;
    const reason = summary.endsWith(ending) ? `${summary.slice(0, -ending.length)}:NAME` : summary;
    const key = lines.length > 1 ? device.id : reason.replace(device.id, '');
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { ids: [device.id], lines });
    else group.ids.push(device.id);
  }
  return [...groups].flatMap(([reason, { ids, lines }]) => {
    if (ids.length === 1) return lines;
    const more = ids.length > EXAMPLES ? ', …' : '';
    return [`${ids.length} devices (${ids.slice(0, EXAMPLES).join(', ')}${more})${reason.replace(/^ is /, ' are ')}`];
  });
}

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
