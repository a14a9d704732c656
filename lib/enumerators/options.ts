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

/** The error for a port name that is wrong. */
export function badName(text: string, why: string, fix: string): PortError {
  return new PortError('BAD_PORT_NAME', { what: `port name "${text}"`, why, fix }, { detail: { port: text } });
}
