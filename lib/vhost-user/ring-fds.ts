/** The eventfds of a front end's rings: made once, and the same for every back end that comes. Main thread. */
import type { Native } from '../../native/index.ts';

/** Kick and call of one ring. */
export interface RingFds {
  readonly kick: number;
  readonly call: number;
}

/** Owns them until `close`. */
export class Eventfds {
  private readonly native: Native;
  private readonly rings = new Map<number, RingFds>();

  constructor(native: Native) {
    this.native = native;
  }

  /** Those of ring `index`. */
  of(index: number): RingFds {
    const known = this.rings.get(index);
    if (known !== undefined) return known;
    const kick = this.native.eventfd();
    try {
      const made = { kick, call: this.native.eventfd() };
      this.rings.set(index, made);
      return made;
    } catch (error) {
      this.native.close(kick);
      throw error;
    }
  }

  close(): void {
    for (const { kick, call } of this.rings.values()) for (const fd of [kick, call]) this.native.close(fd);
    this.rings.clear();
  }
}
