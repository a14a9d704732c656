/** Notices tx queues that do not send what they were given. Control half; pure. */

/** How long a queue may stand still with something to send, in milliseconds. */
export const HANG_MS = 2000;

/** Watches the queues of a port. */
export class TxWatch {
  /** Of each queue: where its head was, and since when. */
  private seen: { head: number; since: number }[] = [];

  /** Everything begins anew. */
  forget(): void {
    this.seen = [];
  }

  /** The number of a queue with `flying` descriptors to send whose head has stood still for too long, or undefined. */
  hung(heads: readonly number[], flying: readonly number[], now: number): number | undefined {
    const before = this.seen;
    this.seen = heads.map((head, i) => {
      const moved = before[i]?.head !== head || flying[i] === 0;
      return moved ? { head, since: now } : before[i];
    });
    const index = this.seen.findIndex(({ since }) => now - since > HANG_MS);
    return index < 0 ? undefined : index;
  }
}
