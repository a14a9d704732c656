/** The device's end of a control queue (virtio 1.2 §5.1.6.5), one command at a time: two descriptors each. */

/** A command as the device got it. */
export interface Told {
  readonly class: number;
  readonly command: number;
  readonly data: readonly number[];
}

/** Where the queue is: its areas as offsets in memory. */
export interface ControlPlace {
  readonly size: number;
  readonly packed: boolean;
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  readonly eventIdx?: boolean;
}

/** Serves commands. */
export class ControlDevice {
  private readonly view: DataView;
  private readonly place: ControlPlace;
  private readonly offsetOf: (address: bigint) => number;
  private readonly violations: string[];
  private count = 0;

  /** Breaches go to `violations`. `offsetOf`: where in memory an address of the driver's is. */
  constructor(
    memory: SharedArrayBuffer,
    place: ControlPlace,
    violations: string[],
    offsetOf: (address: bigint) => number = Number,
  ) {
    this.view = new DataView(memory);
    this.place = place;
    this.violations = violations;
    this.offsetOf = offsetOf;
  }

  private part(slot: number) {
    const { view, place } = this;
    const at = place.desc + 16 * slot;
    const addr = this.offsetOf(view.getBigUint64(at, true));
    const flags = view.getUint16(at + (place.packed ? 14 : 12), true);
    return { at, addr, len: view.getUint32(at + 8, true), flags };
  }

  /** Takes the command that it was notified of, and a function that answers it. */
  take(): { told: Told; answer: (ack: number) => void } {
    const { view, violations, count } = this;
    const { size, packed, desc, driver, device, eventIdx = false } = this.place;
    if (!packed && eventIdx && view.getUint16(driver, true) !== 0) violations.push('V26: avail flags with EVENT_IDX');
    this.count++;
    const head = packed ? (count * 2) % size : view.getUint16(driver + 4 + 2 * (count % size), true);
    if (!packed && view.getUint16(driver + 2, true) !== ((count + 1) & 0xffff)) violations.push('V24: avail idx');
    const first = this.part(head);
    const second = this.part(packed ? head + 1 : view.getUint16(desc + 16 * head + 14, true));
    if ((first.flags & 3) !== 1 || (second.flags & 3) !== 2)
      violations.push('V15: a readable part, then a writable one');
    const [group, command, ...data] = new Uint8Array(view.buffer, first.addr, first.len);
    const answer = (ack: number) => {
      view.setUint8(second.addr, ack);
      if (packed) {
        const wrap = Math.floor((count * 2) / size) % 2 === 0;
        if (((first.flags & 0x80) !== 0) !== wrap || ((first.flags & 0x8000) !== 0) === wrap)
          violations.push('V41: flags');
        view.setUint16(first.at + 14, wrap ? 0x8080 : 0, true);
        return;
      }
      view.setUint32(device + 4 + 8 * (count % size), head, true);
      view.setUint16(device + 2, count + 1, true);
    };
    return { told: { class: group, command, data }, answer };
  }
}

/** Fields of struct virtio_net_config, §5.1.4. */
export interface NetConfigFields {
  mac?: number[];
  status?: number;
  pairs?: number;
  mtu?: number;
  speed?: number;
  duplex?: number;
  table?: number;
  key?: number;
  types?: number;
}

/** struct virtio_net_config with these fields. */
export function netConfig(fields: NetConfigFields = {}): Uint8Array {
  const c = {
    ...{ mac: [2, 0, 0, 0, 0, 9], status: 1, pairs: 1, mtu: 1500, speed: 0xffff_ffff, duplex: 0xff },
    ...{ table: 0, key: 0, types: 0 },
    ...fields,
  };
  const view = new DataView(new ArrayBuffer(24));
  for (const [i, byte] of c.mac.entries()) view.setUint8(i, byte);
  view.setUint16(6, c.status, true);
  view.setUint16(8, c.pairs, true);
  view.setUint16(10, c.mtu, true);
  view.setUint32(12, c.speed, true);
  view.setUint8(16, c.duplex);
  view.setUint8(17, c.key);
  view.setUint16(18, c.table, true);
  view.setUint32(20, c.types, true);
  return new Uint8Array(view.buffer);
}
