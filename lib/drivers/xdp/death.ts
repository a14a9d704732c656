/** What ends a port that nobody closed. */
import { PortError } from '../../errors.ts';

/** Why it ended, as the parts of an error. */
export interface Death {
  readonly code: 'PORT_LOST' | 'GRANT_LOST' | 'XSK_REFUSED' | 'XDP_DETACHED';
  readonly why: string;
  readonly fix: string;
}

export const interfaceGone = (why: string): Death => ({
  code: 'PORT_LOST',
  why: `its interface has gone: ${why}`,
  fix: 'open it again when it is back',
});

export const grantGone = (why: string): Death => ({
  code: 'GRANT_LOST',
  why,
  fix: 'start linecard grant again, then open the port again',
});

/** Not the end of a port, but of most of its TCP: what `largeNote` warns of has happened. */
export const packetsCut = (name: string, link: string, packets: bigint): PortError =>
  new PortError('XDP_TOO_LARGE', {
    what: `port xdp:${name}`,
    why: `${packets} packets came in pieces too large for a frame, and were dropped (rx_dropped): in skb mode nothing cuts what the sender leaves to hardware to cut`,
    fix: `at the other end of ${link}: ethtool -K INTERFACE tso off gso off`,
  });

/** The error of port xdp:`name`. */
export function deathOf(name: string, { code, why, fix }: Death): PortError {
  return new PortError(code, { what: `port xdp:${name}`, why, fix });
}
