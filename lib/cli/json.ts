/** JSON with 64-bit counters: `JSON.stringify` throws on a bigint. */

/** What can be written. */
export type Json =
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | readonly Json[]
  | { readonly [key: string]: Json };

/** Writes `value` on one line, bigints as plain integers; keys without a value are left out. */
export function toJson(value: Json): string {
  if (typeof value === 'bigint') return String(value);
  if (value === undefined || typeof value !== 'object' || value === null) return JSON.stringify(value ?? null);
  if (Array.isArray(value)) return `[${value.map(toJson).join(',')}]`;
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  return `{${entries.map(([key, v]) => `${JSON.stringify(key)}:${toJson(v)}`).join(',')}}`;
}
