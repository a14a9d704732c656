/** Notices tx queues that do not send what they were given. Control half; pure. */

/**
 * Looks for which a queue may stand still with something to send. They are counted, not time: of a process that was stopped
 * for a while, the worker has not taken back yet what the device has sent.
 */
export const HANG_LOOKS = 20;

/** Watches the queues of a port. */
export class TxWatch {
  /** Of each queue: where its head was, and for how many looks it has stood there. */
  private seen: { head: number; looks: number }[] = [];

  /** Everything begins anew. */
  forget(): void {
    this.seen = [];
  }

  /** The number of a queue with `flying` descriptors to send whose head has stood still for too long, or undefined. */
  hung(heads: readonly number[], flying: readonly number[]): number | undefined {
    const before = this.seen;
    this.seen = heads.map((head, i) => {
      const moved = before[i]?.head !== head || flying[i] === 0;
      return { head, looks: moved ? 0 : before[i].looks + 1 };
    });
    const index = this.seen.findIndex(({ looks }) => looks > HANG_LOOKS);
    return index < 0 ? undefined : index;
  }
}
