/** Which packets a controller lets through, and on which queue they come. Control half. */
import type { RegisterAccess } from '../../pci/devio.ts';
import { isGroupMac, parseMac } from '../../wire/mac.ts';
import { badMulticast } from './errors.ts';
import { RAH_AV, RCTL, REG } from './regs.ts';

const ADDRESSES = 16;
const TABLE_WORDS = 128;
const RETA_WORDS = 32;
const KEY_WORDS = 10;
/** A symmetric key: both directions of a flow meet on one queue (0x6d5a, repeated). */
const KEY_WORD = 0x5a6d_5a6d;

/** Group addresses that are let through. */
export type Multicast = 'all' | readonly string[];

/** Reads a wish: `all`, `none`, or group addresses with + between them. Throws `BAD_WISH`. */
export function parseMulticast(name: string, text = 'all'): Multicast {
  if (text === 'all') return 'all';
  if (text === 'none') return [];
  const all = text.split('+');
  for (const one of all) {
    try {
      if (isGroupMac(parseMac(one), 0)) continue;
    } catch {} // the message below says it all
    throw badMulticast(name, text);
  }
  return all;
}

/** The words of RAL and RAH for `mac`, without the valid bit. */
export function addressWords(mac: string): readonly [low: number, high: number] {
  const b = parseMac(mac);
  return [(b[0] | (b[1] << 8) | (b[2] << 16) | (b[3] << 24)) >>> 0, b[4] | (b[5] << 8)];
}

/** The address in RAL and RAH as six bytes; undefined when it is not valid. */
export function readAddress(registers: RegisterAccess): Uint8Array | undefined {
  const low = registers.get32(REG.RAL(0));
  const high = registers.get32(REG.RAH(0));
  const bytes = Uint8Array.of(low, low >>> 8, low >>> 16, low >>> 24, high, high >>> 8);
  const valid = (high & 0x8000_0000) !== 0 && !isGroupMac(bytes, 0) && bytes.some((byte) => byte !== 0);
  return valid ? bytes : undefined;
}

/** The bit that an address has in the table: bits 47 to 36 of it, as RCTL.MO is 0. */
export function hashOf(mac: string): number {
  const bytes = parseMac(mac);
  return ((bytes[4] >>> 4) | (bytes[5] << 4)) & 0xfff;
}

/** Programs the addresses that are let through, and no VLAN filter. */
export function setAddresses(registers: RegisterAccess, mac: string, multicast: Multicast): void {
  const [low, high] = addressWords(mac);
  for (let i = 0; i < ADDRESSES; i++) {
    // Not valid before it is whole.
    registers.put32(REG.RAH(i), 0);
    registers.put32(REG.RAL(i), i === 0 ? low : 0);
    if (i === 0) registers.put32(REG.RAH(0), (high | RAH_AV) >>> 0);
  }
  const table = new Uint32Array(TABLE_WORDS);
  for (const hash of multicast === 'all' ? [] : multicast.map(hashOf)) table[hash >>> 5] |= 1 << (hash & 31);
  for (const [i, word] of table.entries()) registers.put32(REG.MTA(i), word);
  for (let i = 0; i < TABLE_WORDS; i++) registers.put32(REG.VFTA(i), 0);
}

/** Bits of RCTL: broadcasts always, the rest as it is asked for. */
export const filterBits = (promiscuous: boolean, multicast: Multicast): number =>
  RCTL.BAM | (promiscuous ? RCTL.UPE | RCTL.MPE : 0) | (multicast === 'all' ? RCTL.MPE : 0);

/** Spreads hashes over queues 0 … `queues` − 1. A byte of the table is the queue's number, `shift` bits up. */
export function setSpread(registers: RegisterAccess, queues: number, shift: number): void {
  for (let i = 0; i < KEY_WORDS; i++) registers.put32(REG.RSSRK(i), KEY_WORD);
  for (let i = 0; i < RETA_WORDS; i++) {
    const bytes = [0, 1, 2, 3].map((byte) => (((i * 4 + byte) % queues) << shift) << (byte * 8));
    registers.put32(REG.RETA(i), bytes.reduce((word, byte) => word | byte, 0) >>> 0);
  }
}
