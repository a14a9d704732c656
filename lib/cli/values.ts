/** Values of options, from the text that was typed. Each throws `USAGE` with what would be accepted. */
import { usageError } from './failure.ts';

/** Inclusive bounds. */
export interface Bounds {
  readonly min: number;
  readonly max: number;
}

/** A parser of whole numbers in `bounds` for the option `name`. */
export function wholeNumber(name: string, { min, max }: Bounds): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw usageError(`option ${name}`, `"${text}" is not a whole number from ${min} to ${max}`, 'give one');
  };
}

/** A parser of seconds, fractions allowed. */
export function seconds(name: string, { min, max }: Bounds): (text: string) => number {
  return (text) => {
    const value = Number(text);
    // Shorter than a millisecond is no time to run for.
    if (/^\d+(\.\d*)?$|^\.\d+$/.test(text) && value >= min && value <= max && (value === 0 || value >= 0.001))
      return value;
    throw usageError(
      `option ${name}`,
      `"${text}" is not a number of seconds from ${min} to ${max}`,
      'give one, such as 10 or 0.5',
    );
  };
}

/** A parser of one of `values`. */
export function oneOf<T extends string>(name: string, values: readonly T[]): (text: string) => T {
  return (text) => {
    const value = values.find((v) => v === text);
    if (value !== undefined) return value;
    throw usageError(`option ${name}`, `"${text}" is none of its values`, `use ${values.join(', ')}`);
  };
}

/** Numbers with thousands in letters, as people type rates: `10000`, `10k`, `1.5M`. */
export function quantity(name: string, { min, max }: Bounds): (text: string) => number {
  const units: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9 };
  return (text) => {
    const [, digits = '', unit = ''] = /^(\d+(?:\.\d+)?)([kmg]?)$/i.exec(text) ?? [];
    const value = digits === '' ? Number.NaN : Math.round(Number(digits) * units[unit.toLowerCase()]);
    if (value >= min && value <= max) return value;
    throw usageError(
      `option ${name}`,
      `"${text}" is not a number from ${min} to ${max}`,
      'give one, such as 10000, 10k or 1.5M',
    );
  };
}

/** Bytes, in binary units: `65536`, `512M`, `4G`. */
export function byteSize(name: string): (text: string) => number {
  const units: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };
  return (text) => {
    const [, digits = '', unit = ''] = /^(\d+)([kmg]?)$/i.exec(text) ?? [];
    const value = Number(digits) * units[unit.toLowerCase()];
    if (digits !== '' && Number.isSafeInteger(value)) return value;
    throw usageError(`option ${name}`, `"${text}" is no number of bytes`, 'give one, such as 65536, 512M or 4G');
  };
}

/** Cpus as the kernel lists them: `0,2-3`. */
export function cpuList(name: string): (text: string) => readonly number[] {
  return (text) => {
    const parts = text.split(',').map((part) => /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part.trim()));
    const cpus = parts.flatMap((part) => {
      const first = Number(part?.[1]);
      const last = Number(part?.[2] ?? first);
      if (!(first <= last)) throw usageError(`option ${name}`, `"${text}" is no list of cpus`, 'write it as 0,2-3');
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
    return cpus;
  };
}

/** A module and its export: `./app.js#name`, or `./app.js` for its default export. `what` is told when it is wrong. */
export function moduleName(what: string): (text: string) => { readonly module: string; readonly export?: string } {
  return (text) => {
    const hash = text.lastIndexOf('#');
    const module = hash < 0 ? text : text.slice(0, hash);
    const exported = hash < 0 ? undefined : text.slice(hash + 1);
    if (module === '' || exported === '') {
      const why = `"${text}" names no module and export`;
      throw usageError(what, why, 'write it as ./file.js#name, or ./file.js for its default export');
    }
    return exported === undefined ? { module } : { module, export: exported };
  };
}

/** A JSON object. */
export function jsonObject(name: string): (text: string) => Readonly<Record<string, unknown>> {
  return (text) => {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw usageError(
        `option ${name}`,
        `"${text}" is not JSON (${(error as Error).message})`,
        `write it as '{"key": 1}'`,
      );
    }
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
    throw usageError(`option ${name}`, `${text} is no JSON object`, `write it as '{"key": 1}'`);
  };
}
