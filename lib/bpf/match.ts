/**
 * Which packets a program takes for us; all others go on to the kernel. A match is a list of terms, any of which will do:
 * `udp/53`, `tcp/80`, `vlan/100`, `ether/0x88cc`, `host/192.0.2.1`, `host/2001:db8::1`, joined by `+`.
 */
import { isIP } from 'node:net';
import { PortError } from '../errors.ts';

/** One term of a match. */
export type Term =
  | { readonly kind: 'udp' | 'tcp'; readonly port: number }
  | { readonly kind: 'vlan'; readonly id: number }
  | { readonly kind: 'ether'; readonly type: number }
  /** Packets to that address, and what asks for its link-layer address (ARP, neighbour solicitation). */
  | { readonly kind: 'host'; readonly address: Uint8Array };

function bad(text: string, why: string): PortError {
  return new PortError('BAD_MATCH', {
    what: `match "${text}"`,
    why,
    fix: 'use udp/PORT, tcp/PORT, vlan/ID, ether/TYPE or host/ADDRESS, several joined by +',
  });
}

function whole(text: string, term: string, min: number, max: number): number {
  const value = /^(\d+|0x[0-9a-f]+)$/i.test(term) ? Number(term) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw bad(text, `"${term}" is not a number from ${min} to ${max}`);
}

/** The 4 or 16 bytes of an address. */
export function addressBytes(text: string): Uint8Array | undefined {
  if (isIP(text) === 4) return Uint8Array.from(text.split('.'), Number);
  if (isIP(text) !== 6 || text.includes('%')) return undefined;
  // The URL parser writes every IPv6 address in one form: no embedded IPv4, the longest run of zeros as "::".
  const plain = new URL(`http://[${text}]`).hostname.slice(1, -1);
  const [head, tail] = plain.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const words = tail === undefined ? head : [...head, ...Array(8 - head.length - tail.length).fill('0'), ...tail];
  return Uint8Array.from(words.flatMap((word) => [Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 0xff]));
}

function parseTerm(text: string, term: string): Term {
  const slash = term.indexOf('/');
  const kind = term.slice(0, Math.max(0, slash));
  const value = term.slice(slash + 1);
  switch (kind) {
    case 'udp':
    case 'tcp':
      return { kind, port: whole(text, value, 1, 65_535) };
    case 'vlan':
      return { kind, id: whole(text, value, 0, 4095) };
    case 'ether':
      return { kind, type: whole(text, value, 0x600, 0xffff) };
    case 'host': {
      const address = addressBytes(value);
      if (address === undefined) throw bad(text, `"${value}" is not an IP address`);
      return { kind, address };
    }
    default:
      throw bad(text, `there is no term "${term}"`);
  }
}

/** Reads a match. Throws PortError `BAD_MATCH`. */
export function parseMatch(text: string): Term[] {
  const terms = text.split('+');
  if (terms.length > 16) throw bad(text, `it has ${terms.length} terms; 16 are the most`);
  return terms.map((term) => parseTerm(text, term));
}
