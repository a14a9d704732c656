/** IP addresses as text (RFC 4291 §2.2, RFC 5952). Control half. */
import { isIP } from 'node:net';

/** Returns the 4 or 16 bytes of an address, or undefined when the text is none. Zones (`%eth0`) are none. */
export function addressBytes(text: string): Uint8Array | undefined {
  if (isIP(text) === 4) return Uint8Array.from(text.split('.'), Number);
  if (isIP(text) !== 6 || text.includes('%')) return undefined;
  // The URL parser writes every IPv6 address in one form: no embedded IPv4, the longest run of zeros as "::".
  const plain = new URL(`http://[${text}]`).hostname.slice(1, -1);
  const [head, tail] = plain.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const words = tail === undefined ? head : [...head, ...Array(8 - head.length - tail.length).fill('0'), ...tail];
  return Uint8Array.from(words.flatMap((word) => [Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 0xff]));
}
