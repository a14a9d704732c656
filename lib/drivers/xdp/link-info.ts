/** What an interface's link is to a port. Pure. */
import type { Link } from '../../netlink/rtnetlink.ts';
import type { LinkInfo } from '../../pktio/types.ts';

/** Of an interface that has gone, the link is down. */
export function linkInfo(link: Pick<Link, 'name' | 'kind' | 'up' | 'carrier'> | undefined): LinkInfo {
  const up = link?.up === true && link.carrier;
  const common = { speed: 0, duplex: 'unknown', autoneg: false, media: link?.kind || 'ethernet' } as const;
  if (up) return { ...common, status: 'up' };
  const why = link === undefined ? 'it has gone' : link.up ? 'no carrier' : `it is down: ip link set ${link.name} up`;
  return { ...common, status: 'down', reason: why };
}
