/** Where a queue's rings are, as plain numbers: what the two halves of the driver say to each other. */

/** Offsets in the arena. `prefix` is the ring's name. */
export type RingPlace = {
  readonly producer: number;
  readonly consumer: number;
  readonly flags: number;
  readonly first: number;
  readonly size: number;
};

/** A ring's place, flat, for `QueuePlan.data`. */
export function placeData(prefix: string, place: RingPlace): Record<string, number> {
  return Object.fromEntries(Object.entries(place).map(([key, value]) => [`${prefix}.${key}`, value]));
}

/** The place again. */
export function placeOf(data: Readonly<Record<string, number>>, prefix: string): RingPlace {
  const at = (key: keyof RingPlace): number => data[`${prefix}.${key}`];
  return {
    producer: at('producer'),
    consumer: at('consumer'),
    flags: at('flags'),
    first: at('first'),
    size: at('size'),
  };
}

/**
 * What a queue's frame map says of a frame: not this queue's, given to the kernel to receive into, given to it to send;
 * `claimed` is one of a packet that is being looked at, segment by segment, before any is given to the kernel.
 */
export const FRAME = { none: 0, posted: 1, sending: 2, claimed: 3 } as const;

/** Counters of an rx queue beyond the common ones. */
export const XDP_RX_NAMES = ['runt', 'oversize', 'invalid'] as const;
export const XDP_RX = { runt: 3, oversize: 4, invalid: 5 } as const;

/** Counters of a tx queue beyond the common ones: refused by the kernel after it took them, or not a frame of ours. */
export const XDP_TX_NAMES = ['kernel', 'invalid'] as const;
export const XDP_TX = { kernel: 7, invalid: 8 } as const;
