/** What `gen` sends through one tx queue: its flows, its sequence, and the burst that is on its way. Data half. */
import type { AppContext } from '../../lib/queue.ts';
import type { ProbeWriter } from '../../lib/wire/probe.ts';

/** What the streams of a generator share. */
export interface StreamPlan {
  /** Length of each frame, in bytes. */
  readonly size: number;
  /** Number of flows of each stream: the first stream has the writer's first, and so on. */
  readonly flows: number;
  /** One for all streams: V8 embeds the views of a closure that was made once, and reloads those of several. */
  readonly write: ProbeWriter;
  /** Adders of the generator's counters. */
  readonly sent: (n: number) => void;
  readonly full: (n: number) => void;
  readonly dry: (n: number) => void;
}

/** A tx queue's packets. */
export interface Stream {
  /** Makes up to `n` packets when all earlier ones were accepted; returns how many. */
  make(n: number): number;
  /** Offers what was made and not yet accepted; returns how many were accepted now. */
  offer(): number;
  /** Packets that were made and not yet accepted. */
  held(): number;
}

/** Makes the stream of tx queue number `index`. */
export function makeStream(
  context: Pick<AppContext, 'frames' | 'tx' | 'burst'>,
  index: number,
  plan: StreamPlan,
): Stream {
  const { frames } = context;
  const tx = context.tx[index]!;
  const { flows, write, sent, full, dry } = plan;
  const first = index * flows;
  const burst = frames.burst(context.burst);
  const { offsets } = burst;
  burst.lengths.fill(plan.size);
  // Flows take turns, so the sequence is the number of the round, the same for all of them.
  let flow = 0;
  let low = 0;
  let high = 0;
  let from = 0; // burst [from, to) was made and not yet accepted
  let to = 0;

  function fill(n: number): void {
    for (let i = 0; i < n; i = (i + 1) | 0) {
      write(offsets[i], (first + flow) | 0, high, low);
      flow = (flow + 1) | 0;
      if (flow === flows) {
        flow = 0;
        low = (low + 1) | 0;
        if (low === 0) high = (high + 1) | 0;
      }
    }
  }
  return {
    make(n) {
      if (from !== to || n === 0) return 0;
      const got = frames.allocate(burst, 0, n);
      if (got < n) dry(1);
      fill(got);
      from = 0;
      to = got;
      burst.count = got;
      return got;
    },
    offer() {
      if (from === to) return 0;
      const accepted = tx.transmit(burst, from, to);
      from = (from + accepted) | 0;
      if (from !== to) full(1);
      if (accepted > 0) sent(accepted);
      return accepted;
    },
    held: () => (to - from) | 0,
  };
}
