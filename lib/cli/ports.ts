/** Opens the ports that a command names, with help for names that are nobody's. */
import { existsSync } from 'node:fs';
import { type Engine, openEngine } from '../engine/engine.ts';
import type { EngineOptions } from '../engine/types.ts';
import { LinecardError, PortError, toPlainError } from '../errors.ts';
import type { Pktio, PortConfig } from '../pktio/types.ts';
import { usageError } from './failure.ts';
import { similar } from './similar.ts';
import { inOptions } from './words.ts';

/** A sentence about a port. */
export interface Note {
  readonly port: string;
  readonly text: string;
}

/** A port to open, and its settings. */
export interface PortWish {
  readonly name: string;
  readonly settings: Partial<PortConfig>;
}

/** What the ports' users should know about them. */
export const portNotes = (ports: Iterable<Pktio>): Note[] =>
  [...ports].flatMap((port) => (port.notes?.() ?? []).map((text) => ({ port: port.name, text: inOptions(text) })));

/** Opens an engine, hands it to `action`, and closes it, whatever happens. */
export async function withEngine<T>(options: EngineOptions, action: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await openEngine(options);
  let result: T;
  try {
    result = await action(engine);
  } catch (error) {
    // The first failure is the one to tell.
    await engine.close().catch(() => {});
    throw error;
  }
  await engine.close();
  return result;
}

/** Opens the ports in order. Throws `USAGE` for one that is named twice, and what opening throws. */
export async function openPorts(engine: Engine, wishes: readonly PortWish[]): Promise<Pktio[]> {
  const twice = wishes.find(({ name }, i) => wishes.findIndex((other) => other.name === name) !== i);
  if (twice !== undefined)
    throw usageError(`port ${twice.name}`, 'it is named twice', 'name each port once', { port: twice.name });
  const ports: Pktio[] = [];
  for (const { name, settings } of wishes) ports.push(await openPort(engine, name, settings));
  return ports;
}

async function openPort(engine: Engine, name: string, settings: Partial<PortConfig>): Promise<Pktio> {
  return explained(engine, name, () => engine.open(name, settings));
}

/** Does `action`, which asks for the port `name`; its errors are told in words of the command line. */
export async function explained<T>(engine: Engine, name: string, action: () => Promise<T>): Promise<T> {
  const refusals: Error[] = [];
  const forget = engine.framework.on((event) => {
    if (event.type === 'error' && event.device !== undefined) refusals.push(event.error);
  });
  try {
    return await action();
  } catch (error) {
    throw inOurWords(engine, name, error, refusals);
  } finally {
    forget();
  }
}

function inOurWords(engine: Engine, name: string, error: unknown, refusals: readonly Error[]): unknown {
  const { code, message } = toPlainError(error);
  if (code === 'NO_SUCH_PORT') return noSuchPort(engine, name, error);
  if (code === 'PORT_TAKEN') {
    const text = {
      what: `port ${name}`,
      why: 'it is another name of a port that was named before',
      fix: 'name each port once',
    };
    return new PortError('PORT_TAKEN', text, { cause: error, detail: { port: name } });
  }
  if (code !== 'NOT_BOUND') return error;
  // The driver that came closest has said what is wrong, and what to do about it.
  const refusal = refusals.find((r) => r instanceof LinecardError && message.includes(r.message));
  if (refusal !== undefined) return refusal;
  const why = message.split('; ').slice(0, -1).join('; ');
  const text = { what: `port ${name}`, why, fix: `"linecard status ${name}" lists what was tried` };
  return new PortError('NOT_BOUND', text, { cause: error, detail: { port: name } });
}

/** Adds what may have been meant. */
function noSuchPort(engine: Engine, name: string, cause: unknown): PortError {
  const accepted = engine.framework
    .enumerators()
    .flatMap(({ portNames }) => (portNames === undefined ? [] : [portNames]));
  const meant = suggestion(name, kindsOf(accepted));
  const names = accepted.map(withoutOptions).join(', ');
  const fix = `${meant === undefined ? '' : `did you mean ${meant}? `}names are ${names} ("linecard help l2fwd" has all)`;
  return new PortError(
    'NO_SUCH_PORT',
    { what: `port ${name}`, why: 'nobody knows that name', fix },
    { cause, detail: { port: name } },
  );
}

/** `null:NAME[,size=BYTES]` → `null:NAME`. */
const withoutOptions = (portNames: string): string => portNames.replaceAll(/(?:\[,[^\]]*\])+…?/g, '');

/** The words before the colons: `null`, `pair`. */
function kindsOf(accepted: readonly string[]): string[] {
  return [...new Set(accepted.flatMap((text) => [...text.matchAll(/([a-z][\w-]*):/g)].map(([, kind]) => kind)))];
}

/** What may have been meant by a port name that nobody knows, given the kinds that there are. `sys` is where sysfs is. */
export function suggestion(name: string, kinds: readonly string[], sys = '/sys'): string | undefined {
  if (kinds.includes('xdp') && /^[\w.-]+$/.test(name) && existsSync(`${sys}/class/net/${name}`)) return `xdp:${name}`;
  if (/\.(pcap|pcapng|cap)$/i.test(name) && !name.includes(':') && kinds.includes('pcap')) return `pcap:${name}`;
  const colon = name.indexOf(':');
  const kind = colon < 0 ? name : name.slice(0, colon);
  const rest = colon < 0 ? '0' : name.slice(colon + 1);
  const near = similar(kind, kinds);
  return near === undefined || `${near}:${rest}` === name ? undefined : `${near}:${rest}`;
}
