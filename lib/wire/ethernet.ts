/** Ethernet header, IEEE 802.3-2022 §3.1, and the VLAN tag, IEEE 802.1Q-2022 §9. Addresses: `mac.ts`, `bytes.ts`. */

/** Byte offsets from the first byte of the frame. `size` is the header's, without tags. */
export const ETHERNET = { destination: 0, source: 6, type: 12, size: 14 } as const;

/** Shortest frame on a wire, without FCS. */
export const ETHERNET_MIN = 60;

/** EtherTypes (IANA ieee-802-numbers). */
export const ETHER_TYPE = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd, serviceVlan: 0x88a8 } as const;

/**
 * Byte offsets from the first byte of a tag. A tag stands where the EtherType would (frame + 12), and moves the
 * EtherType four bytes on.
 */
export const VLAN = { protocol: 0, control: 2, size: 4 } as const;

const { type: TYPE, size: SIZE } = ETHERNET;
const { vlan: TAG, serviceVlan: SERVICE_TAG } = ETHER_TYPE;
const { control: CONTROL, size: TAG_SIZE } = VLAN;

/**
 * Returns the length of the header with up to two tags (14, 18 or 22), or 0 when the frame is shorter than that.
 * The EtherType of what follows is then in the last two bytes: `etherType(view, at, header)`.
 */
export function checkEthernet(view: DataView, at: number, length: number): number {
  let header: number = SIZE;
  for (let tags = 0; tags <= 2; tags = (tags + 1) | 0) {
    if (length < header) return 0;
    const type = view.getUint16(at + header - 2);
    if (tags === 2 || (type !== TAG && type !== SERVICE_TAG)) break;
    header = (header + TAG_SIZE) | 0;
  }
  return header;
}

/** EtherType of the payload, behind a header of the length that `checkEthernet` returned. Below 1,536 it is a length. */
export const etherType = (view: DataView, at: number, header: number): number => view.getUint16(at + header - 2);
/** Sets the EtherType in an untagged header. */
export const setEtherType = (view: DataView, at: number, type: number): void => view.setUint16(at + TYPE, type);

/** VLAN identifier, 12 bits: 0 is none (priority only), 4,095 is reserved. `tag` is the offset of the tag. */
export const vlanId = (view: DataView, tag: number): number => view.getUint16(tag + CONTROL) & 0xfff;
/** Priority code point, 3 bits. */
export const vlanPriority = (view: DataView, tag: number): number => view.getUint16(tag + CONTROL) >>> 13;
/** Drop eligible indicator, 1 bit. */
export const vlanDropEligible = (view: DataView, tag: number): number => (view.getUint16(tag + CONTROL) >>> 12) & 1;

/** Returns a tag's control information, for `setVlan`. */
export const vlanControl = (id: number, priority = 0, dropEligible = 0): number =>
  ((priority & 7) << 13) | ((dropEligible & 1) << 12) | (id & 0xfff);

/** Writes a whole tag. `protocol` is `ETHER_TYPE.vlan` or `ETHER_TYPE.serviceVlan`. */
export function setVlan(view: DataView, tag: number, protocol: number, control: number): void {
  view.setUint16(tag, protocol);
  view.setUint16(tag + CONTROL, control);
}
