/** What whoever opens an interface should know about it, with the command that changes it. Pure. */
import type { Attached, AttachMode } from '../../devios/xsk.ts';
import type { Xsk } from '../../devios/xsk-socket.ts';
import type { Channels } from '../../netlink/ethtool.ts';
import type { Link } from '../../netlink/rtnetlink.ts';

/** True when no hardware stands behind the interface: a veth, a bridge, a TAP, the loopback. */
export const isSoftware = ({ kind, loopback }: Pick<Link, 'kind' | 'loopback'>): boolean => kind !== '' || loopback;

/** Which of an interface's rx queues are open. */
export interface Share {
  readonly opened: number;
  readonly first: number;
  readonly queues: number;
}

/**
 * Says what share of the traffic will not arrive: that of the queues that are not opened; and how all of it arrives. A
 * veth needs as many rx queues as its other end has tx queues, or has no native XDP.
 */
export function shareNote(link: Pick<Link, 'name' | 'kind'>, share: Share, channels: Channels | undefined): string[] {
  const { name } = link;
  const { opened, first, queues } = share;
  const closed = queues - opened;
  if (closed <= 0) return [];
  const what = `${name} has ${queues} rx queues, ${opened} opened: about ${Math.round((closed / queues) * 100)} % of its traffic will not arrive`;
  if (first > 0) return [`${what}; what is to arrive must be sent to its queue ${first}: ethtool -N ${name}`];
  const all = `open all (rxQueues: ${queues})`;
  if (channels === undefined) return [`${what}; ${all}`];
  const separate = channels.combined === 0;
  const there = link.kind === 'veth' ? `, after ethtool -L INTERFACE tx ${opened} at its other end` : '';
  return [`${what}; ${all}, or before the start: ethtool -L ${name} ${separate ? 'rx' : 'combined'} ${opened}${there}`];
}

/** Says how packets reach us, and why not in the best way there is. */
export function modeNote(
  name: string,
  { mode, why }: Attached,
  socket: Pick<Xsk, 'zeroCopy' | 'refusal' | 'multiBuffer'> | undefined,
): string {
  const because = (reason: string | undefined) => (reason === undefined ? '' : ` (${reason})`);
  const refusal = socket?.refusal === undefined ? undefined : `its driver refuses zero-copy: ${socket.refusal}`;
  const copy = socket?.zeroCopy === true ? 'zero-copy' : `copy mode${because(refusal)}`;
  const several = socket?.multiBuffer === true ? ', packets in several frames (multi-buffer)' : '';
  return `${name}: XDP in ${mode} mode${because(why)}, ${copy}${several}`;
}

/** Says what becomes of checksums that a sender without hardware left to hardware. Whoever gets such a packet drops it. */
export function checksumNote(link: Pick<Link, 'name' | 'kind' | 'loopback'>, filled: boolean): string[] {
  if (!isSoftware(link)) return [];
  if (filled) return [`${link.name}: TCP and UDP checksums that senders leave to hardware are filled in`];
  return [
    `${link.name}: checksum=keep: TCP and UDP packets may lack checksums, and receivers drop those; ` +
      'leave it out, or at the other end: ethtool -K INTERFACE tx off',
  ];
}

/** Says when packets larger than any frame may arrive: in front of native XDP the kernel cuts them, of skb mode it doesn't. */
export function largeNote({ name, kind }: Pick<Link, 'name' | 'kind'>, mode: AttachMode | undefined): string[] {
  if (kind !== 'veth' || mode !== 'skb') return [];
  return [
    `${name}: in skb mode TCP comes in pieces too large for a frame (rx_dropped); ` +
      'at the other end: ethtool -K INTERFACE tso off gso off',
  ];
}

/**
 * Says when packets may be longer than the MTU: a program that is given packets of several buffers leaves the other end of a
 * veth its segmentation offload, and what was to be cut into packets later comes whole.
 */
export function offloadNote({ name, kind }: Pick<Link, 'name' | 'kind'>): string[] {
  if (kind !== 'veth') return [];
  return [
    `${name} is a veth: its other end sends packets longer than the MTU while it offloads segmentation, and they are dropped ` +
      'as oversize; there: ethtool -K INTERFACE tso off gso off',
  ];
}
