/** The flows that `gen` sends: who talks to whom. Control half. */
import type { PortFacts } from '../../lib/queue.ts';
import { parseMac } from '../../lib/wire/mac.ts';
import { TEMPLATE_WORDS } from '../../lib/wire/probe.ts';
import { makeProbeTemplate } from '../../lib/wire/probe-template.ts';

/** What the flows follow from. */
export interface FlowPlan {
  readonly size: number;
  readonly flows: number;
  readonly firstFlow: number;
  readonly seed: number;
  readonly destination: string | undefined;
}

// 198.18.0.0/15 is for benchmarks (RFC 2544 appendix C.2.2): sources in its lower half, destinations in its upper.
const SOURCES = 0xc612_0000 | 0;
const DESTINATIONS = 0xc613_0000 | 0;
const DISCARD = 9; // the port of the discard service, RFC 863
const PORTS = 0xc000; // the dynamic ports, RFC 6335 §6: 2^14 of them
const PORT_MASK = 0x3fff;
const PORT_STEP = 0x9e37; // odd: spreads neighbouring flows over the ports

/**
 * Returns the templates for `makeProbeWriter`: all flows of the first tx queue, all of the second, and so on.
 * No two have the same 5-tuple. Throws PortError `BAD_MAC`.
 */
export function makeTemplates(txPorts: readonly PortFacts[], plan: FlowPlan): Int32Array {
  const { flows, firstFlow, seed, size } = plan;
  const templates = new Int32Array(txPorts.length * flows * TEMPLATE_WORDS);
  for (const [tx, { mac, index }] of txPorts.entries()) {
    const destinationMac = parseMac(plan.destination ?? '02:00:00:00:00:00');
    if (plan.destination === undefined) destinationMac[5] = index;
    for (let i = 0; i < flows; i++) {
      const flow = firstFlow + tx * flows + i;
      const template = makeProbeTemplate({
        destinationMac,
        sourceMac: mac,
        source: SOURCES | flow,
        destination: DESTINATIONS | flow,
        sourcePort: PORTS | (Math.imul(flow + seed, PORT_STEP) & PORT_MASK),
        destinationPort: DISCARD,
        flow,
        tx,
        size,
      });
      templates.set(template, (tx * flows + i) * TEMPLATE_WORDS);
    }
  }
  return templates;
}
