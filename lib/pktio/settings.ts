/** Checks a port's settings against what the port can do: each refusal names the setting. */
import { PortError } from '../errors.ts';
import { parseMac } from '../wire/mac.ts';
import type { Capability, PortConfig, Range } from './types.ts';

type Refuse = (code: string, key: string, why: string, fix: string) => never;

const COUNTS = ['rxQueues', 'txQueues', 'rxRing', 'txRing', 'mtu'] as const;

function refuser(port: string): Refuse {
  return (code, key, why, fix) => {
    throw new PortError(code, { what: `port ${port}: setting ${key}`, why, fix }, { detail: { port, setting: key } });
  };
}

function checkCount(key: (typeof COUNTS)[number], value: unknown, range: Range, refuse: Refuse): void {
  if (range.min === range.max) refuse('UNSUPPORTED_SETTING', key, 'this port cannot change it', 'leave it out');
  const inside = Number.isInteger(value) && (value as number) >= range.min && (value as number) <= range.max;
  if (!inside) refuse('BAD_SETTING', key, `${String(value)} is not a whole number from ${range.min} to ${range.max}`, 'give one in that range');
  const isRing = key === 'rxRing' || key === 'txRing';
  if (isRing && ((value as number) & ((value as number) - 1)) !== 0) {
    refuse('BAD_SETTING', key, `${String(value)} is not a power of two`, 'use 256, 512, 1024 …');
  }
}

/** Returns `current` with `changes` applied. Throws `UNKNOWN_SETTING`, `UNSUPPORTED_SETTING`, `BAD_SETTING`, `BAD_MAC`. */
export function checkSettings(
  port: string,
  capability: Capability,
  current: PortConfig,
  changes: Partial<PortConfig>,
): PortConfig {
  const refuse = refuser(port);
  const next: PortConfig = { ...current, ...changes };
  for (const key of Object.keys(changes) as (keyof PortConfig)[]) {
    if (!Object.hasOwn(current, key)) {
      refuse('UNKNOWN_SETTING', String(key), 'there is no such setting', `settings are ${Object.keys(current).join(', ')}`);
    }
    // What is already so may always be said again.
    if (changes[key] === current[key]) continue;
    if (key === 'mac') {
      if (!capability.setMac) refuse('UNSUPPORTED_SETTING', key, 'this port cannot change its address', 'leave it out');
      checkMac(String(changes.mac), refuse);
    } else if (key === 'promiscuous') {
      if (typeof changes[key] !== 'boolean') refuse('BAD_SETTING', key, 'it is not true or false', 'give true or false');
      if (!capability.setPromiscuous) refuse('UNSUPPORTED_SETTING', key, `this port is always ${current.promiscuous ? '' : 'not '}promiscuous`, 'leave it out');
    } else checkCount(key, changes[key], capability[key], refuse);
  }
  return next;
}

function checkMac(mac: string, refuse: Refuse): void {
  const bytes = parseMac(mac);
  if ((bytes[0] & 1) !== 0) refuse('BAD_SETTING', 'mac', `${mac} is a group address`, 'use one whose first byte is even');
  if (bytes.every((b) => b === 0)) refuse('BAD_SETTING', 'mac', 'it is all zeros', 'use an address of its own');
}
