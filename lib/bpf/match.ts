/**
 * Which packets a program takes for us; all others go on to the kernel. A match is a list of terms, any of which will do:
 * `udp/53`, `tcp/80`, `vlan/100`, `ether/0x88cc`, `host/192.0.2.1`, `host/2001:db8::1`, joined by `+`.
 */
import { PortError } from '../errors.ts';
import { addressBytes } from '../wire/address.ts';

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
