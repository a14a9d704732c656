/** What `gen` sends through one tx queue: its flows, its sequence, and the burst that is on its way. Data half. */
import type { AppContext } from '../../lib/queue.ts';
import { parseMac } from '../../lib/wire/mac.ts';
import { makeProbeWriter, TEMPLATE_WORDS } from '../../lib/wire/probe.ts';
import { makeProbeTemplate } from '../../lib/wire/probe-template.ts';

/** What a stream needs of its application's context. */
export type StreamContext = Pick<AppContext, 'frames' | 'tx' | 'txPorts' | 'burst'>;

/** What a stream needs to know of gen's options. */
export interface StreamPlan {
  readonly size: number;
  readonly flows: number;
  readonly firstFlow: number;
  readonly seed: number;
  readonly destination: string | undefined;
}

/** Adders of gen's counters. */
export interface StreamCounters {
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

// 198.18.0.0/15 is for benchmarks (RFC 2544 appendix C.2.2): sources in its lower half, destinations in its upper.
const SOURCES = 0xc612_0000 | 0;
const DESTINATIONS = 0xc613_0000 | 0;
const DISCARD = 9; // the port of the discard service, RFC 863
const PORTS = 0xc000; // the dynamic ports, RFC 6335 §6: 2^14 of them
const PORT_STEP = 0x9e37; // spreads neighbouring flows over the ports
const OWN_MAC = [2, 0, 0, 0, 0];

/** Templates of the flows of tx queue `tx`, one after the other. */
function makeTemplates(context: StreamContext, tx: number, plan: StreamPlan): Int32Array {
  const { mac, index } = context.txPorts[tx]!;
  const destinationMac = plan.destination === undefined ? Uint8Array.of(...OWN_MAC, index) : parseMac(plan.destination);
  const templates = new Int32Array(plan.flows * TEMPLATE_WORDS);
  for (let i = 0; i < plan.flows; i++) {
    const flow = plan.firstFlow + tx * plan.flows + i;
    const template = makeProbeTemplate({
      destinationMac,
      sourceMac: mac,
      source: SOURCES | flow,
      destination: DESTINATIONS | flow,
      sourcePort: PORTS | (Math.imul(flow + plan.seed, PORT_STEP) & ~PORTS & 0xffff),
      destinationPort: DISCARD,
      flow,
      tx,
      size: plan.size,
    });
    templates.set(template, i * TEMPLATE_WORDS);
  }
  return templates;
}

/** Makes the stream of tx queue `index`. Throws PortError `BAD_MAC`. */
export function makeStream(context: StreamContext, index: number, plan: StreamPlan, count: StreamCounters): Stream {
  const { frames } = context;
  const tx = context.tx[index]!;
  const { flows, size } = plan;
  const write = makeProbeWriter(frames.i32, makeTemplates(context, index, plan), size);
  const burst = frames.burst(context.burst);
  const { offsets, lengths } = burst;
  lengths.fill(size);
  // Flows take turns, so the sequence is the number of the round, the same for all of them.
  let flow = 0;
  let low = 0;
  let high = 0;
  let from = 0; // burst [from, to) was made and not yet accepted
  let to = 0;

  function fill(n: number): void {
    for (let i = 0; i < n; i = (i + 1) | 0) {
      write(offsets[i], flow, high, low);
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
      if (got < n) count.dry(1);
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
      if (from !== to) count.full(1);
      if (accepted > 0) count.sent(accepted);
      return accepted;
    },
    held: () => (to - from) | 0,
  };
}
