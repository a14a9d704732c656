/** Checks a port's settings against what the port can do: each refusal names the setting. */
import { PortError } from '../errors.ts';
import { formatMac, isGroupMac, parseMac } from '../wire/mac.ts';
import type { Capability, PortConfig, Range } from './types.ts';

type Refuse = (code: string, key: string, why: string, fix: string) => never;

/** A value as a message shows it: anything may have been given, also what cannot be made a string. */
const shown = (value: unknown): string =>
  typeof value === 'object' && value !== null
    ? 'an object'
    : typeof value === 'function'
      ? 'a function'
      : String(value);

const COUNTS = ['rxQueues', 'txQueues', 'rxRing', 'txRing', 'mtu'] as const;

function refuser(port: string): Refuse {
  return (code, key, why, fix) => {
    throw new PortError(code, { what: `port ${port}: setting ${key}`, why, fix }, { detail: { port, setting: key } });
  };
}

function checkCount(key: (typeof COUNTS)[number], value: unknown, range: Range, refuse: Refuse): void {
  if (range.min === range.max) refuse('UNSUPPORTED_SETTING', key, 'this port cannot change it', 'leave it out');
  const inside = Number.isInteger(value) && (value as number) >= range.min && (value as number) <= range.max;
  if (!inside) {
    const why = `${shown(value)} is not a whole number from ${range.min} to ${range.max}`;
    refuse('BAD_SETTING', key, why, 'give one in that range');
  }
  const isRing = key === 'rxRing' || key === 'txRing';
  if (isRing && ((value as number) & ((value as number) - 1)) !== 0) {
    refuse('BAD_SETTING', key, `${shown(value)} is not a power of two`, 'use 256, 512, 1024 …');
  }
}

function checkPromiscuous(value: unknown, capability: Capability, current: PortConfig, refuse: Refuse): void {
  const key = 'promiscuous';
  if (typeof value !== 'boolean') refuse('BAD_SETTING', key, 'it is not true or false', 'give true or false');
  if (capability.setPromiscuous) return;
  refuse(
    'UNSUPPORTED_SETTING',
    key,
    `this port is always ${current.promiscuous ? '' : 'not '}promiscuous`,
    'leave it out',
  );
}

/** Returns the address as the port states it: two lower-case digits per byte. */
function checkMac(value: unknown, capability: Capability, refuse: Refuse): string {
  if (!capability.setMac) refuse('UNSUPPORTED_SETTING', 'mac', 'this port cannot change its address', 'leave it out');
  let bytes: Uint8Array;
  try {
    bytes = parseMac(typeof value === 'string' ? value : '');
  } catch {
    const why = `"${shown(value)}" is not six hexadecimal bytes with colons between them`;
    return refuse('BAD_MAC', 'mac', why, 'write it like 02:00:00:00:00:01');
  }
  if (isGroupMac(bytes, 0))
    refuse('BAD_MAC', 'mac', `${shown(value)} is a group address`, 'use one whose first byte is even');
  if (bytes.every((b) => b === 0)) refuse('BAD_MAC', 'mac', 'it is all zeros', 'use an address of its own');
  return formatMac(bytes);
}

/**
 * Returns `current` with `changes` applied; what is undefined there is no change. Throws `UNKNOWN_SETTING`,
 * `UNSUPPORTED_SETTING`, `BAD_SETTING`, `BAD_MAC`.
 */
export function checkSettings(
  port: string,
  capability: Capability,
  current: PortConfig,
  changes: Partial<PortConfig>,
): PortConfig {
  const refuse = refuser(port);
  const unknown = Object.keys(changes).find((key) => !Object.hasOwn(current, key));
  if (unknown !== undefined) {
    const fix = `settings are ${Object.keys(current).join(', ')}`;
    refuse('UNKNOWN_SETTING', unknown, 'there is no such setting', fix);
  }
  const next: { -readonly [Key in keyof PortConfig]: PortConfig[Key] } = { ...current };
  // What is already so may always be said again.
  const changed = (key: keyof PortConfig) => changes[key] !== undefined && changes[key] !== current[key];
  for (const key of COUNTS) {
    if (!changed(key)) continue;
    checkCount(key, changes[key], capability[key], refuse);
    next[key] = changes[key] as number;
  }
  if (changed('promiscuous')) {
    checkPromiscuous(changes.promiscuous, capability, current, refuse);
    next.promiscuous = changes.promiscuous as boolean;
  }
  if (changed('mac')) next.mac = checkMac(changes.mac, capability, refuse);
  return next;
}
