/** Port names with options: `kind:name,key=value,key=value`. */
import { PortError } from '../errors.ts';

/** A port name, taken apart. */
export interface PortName {
  readonly kind: string;
  /** What comes before the first option. */
  readonly name: string;
  readonly options: ReadonlyMap<string, string>;
}

/** Takes `text` apart; every option must be in `known`. Throws `BAD_PORT_NAME`. */
export function parsePortName(text: string, known: readonly string[]): PortName {
  const colon = text.indexOf(':');
  const kind = text.slice(0, colon);
  const [first = '', ...rest] = text.slice(colon + 1).split(',');
  const name = first.includes('=') ? '' : first;
  const options = new Map<string, string>();
  for (const option of name === '' && first !== '' ? [first, ...rest] : rest) {
    const equals = option.indexOf('=');
    const key = equals < 0 ? option : option.slice(0, equals);
    if (!known.includes(key) || equals < 0) {
      throw badName(
        text,
        `it has no option "${option}"`,
        known.length > 0 ? `options are ${known.join(', ')}, as key=value` : 'leave it out',
      );
    }
    if (options.has(key)) throw badName(text, `option "${key}" is given twice`, 'give it once');
    options.set(key, option.slice(equals + 1));
  }
  return { kind, name, options };
}

/** A whole number among a port name's options. Throws `BAD_PORT_NAME` when it is none, or not in [min, max]. */
export function wholeOption(
  text: string,
  name: PortName,
  key: string,
  absent: number,
  min: number,
  max: number,
): number {
  const given = name.options.get(key);
  if (given === undefined) return absent;
  const value = Number(given);
  if (/^\d+$/.test(given) && value >= min && value <= max) return value;
  throw badName(
    text,
    `${key}=${given} is not a whole number from ${min} to ${max}`,
    `give one, or leave it out for ${absent}`,
  );
}

/** A choice among a port name's options: 0 or 1. Throws `BAD_PORT_NAME` when it is something else. */
export function flagOption(text: string, name: PortName, key: string): boolean | undefined {
  const value = name.options.get(key);
  if (value === undefined) return undefined;
  if (value === '0' || value === '1') return value === '1';
  throw badName(text, `${key}=${value} is neither 0 nor 1`, `write ${key}=0 or ${key}=1, or leave it out`);
}

function macOption(text: string, name: PortName, key: string): string | undefined {
  const value = name.options.get(key);
  if (value === undefined) return undefined;
  const first = Number.parseInt(value.slice(0, 2), 16);
  if (/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(value) && (first & 1) === 0 && !/^[0:]+$/.test(value))
    return value.toLowerCase();
  throw badName(text, `${key}=${value} is no address of one port`, 'write six bytes, such as 02:00:00:00:00:01');
}

/** An option of a port name: a flag, a number with its bounds and, unless it may be absent, its value then, a MAC, or a text that its driver reads. */
export type Option =
  | { readonly is: 'flag'; readonly absent?: boolean }
  | { readonly is: 'number'; readonly min: number; readonly max: number; readonly absent?: number }
  | { readonly is: 'mac' }
  | { readonly is: 'text' };

/** The options of a kind of port, by name. */
export type Options = Readonly<Record<string, Option>>;

function read(text: string, name: PortName, key: string, option: Option): string | number | boolean | undefined {
  if (option.is === 'flag') return flagOption(text, name, key) ?? option.absent;
  if (option.is === 'mac') return macOption(text, name, key);
  if (option.is === 'text') return name.options.get(key);
  if (!name.options.has(key)) return option.absent;
  return wholeOption(text, name, key, option.absent ?? option.min, option.min, option.max);
}

/** What was asked for, by name; what was not, and has no value then, is not there. Throws `BAD_PORT_NAME`. */
export function optionValues(
  text: string,
  name: PortName,
  options: Options,
): Record<string, string | number | boolean> {
  const values: Record<string, string | number | boolean> = {};
  for (const [key, option] of Object.entries(options)) {
    const value = read(text, name, key, option);
    if (value !== undefined) values[key] = value;
  }
  return values;
}

/** The error for a port name that is wrong. */
export function badName(text: string, why: string, fix: string): PortError {
  return new PortError('BAD_PORT_NAME', { what: `port name "${text}"`, why, fix }, { detail: { port: text } });
}
