/** What whoever opens an interface should know about it, with the command that changes it. Pure. */
import type { Channels } from '../../netlink/ethtool.ts';
import type { Link } from '../../netlink/rtnetlink.ts';

/** Which of an interface's rx queues are open. */
export interface Share {
  readonly opened: number;
  readonly first: number;
  readonly queues: number;
}

/** Says what share of the traffic will not arrive: that of the queues that are not open. */
export function shareNote(name: string, { opened, first, queues }: Share, channels: Channels | undefined): string[] {
  const closed = queues - opened;
  if (closed <= 0) return [];
  const kind = channels !== undefined && channels.combined === 0 && channels.rx > 0 ? 'rx' : 'combined';
  const all = first === 0 ? `, or open all (rxQueues: ${queues})` : '';
  return [
    `${name} has ${queues} rx queues, ${opened} opened: ${closed} of ${queues} parts of its traffic will not arrive; ` +
      `ethtool -L ${name} ${kind} ${first + opened}${all}`,
  ];
}

/**
 * Says when frames may arrive without valid checksums: from the other end of a veth, whose kernel leaves them to
 * hardware that is not there. Whoever gets such a frame from us by a wire, or by another veth, drops it.
 */
export function checksumNote({ name, kind }: Pick<Link, 'name' | 'kind'>): string[] {
  if (kind !== 'veth') return [];
  return [
    `${name} is a veth: its other end sends TCP and UDP without checksums while it offloads them, and receivers drop that; ` +
      'there: ethtool -K INTERFACE tx off',
  ];
}
