import { expect, test } from 'vitest';
import { makeRxQueue, makeTxQueue, warmUp } from '../../../lib/drivers/xdp/queue.ts';
import { warmUpWith } from '../../../lib/drivers/xdp/warm-up.ts';
import type { Burst, QueueContext } from '../../../lib/queue.ts';
import { fakeStack } from '../../fakes/pcap-queues.ts';
import { XskWorld } from '../../fakes/xsk-kernel.ts';

/** The context of a worker with 400 frames, of which others have half. */
function scratchContext(): QueueContext & { stack: ReturnType<typeof fakeStack> } {
  const { context } = new XskWorld();
  const pool = { base: 0x10_0000, count: 400, frameSize: 2048 };
  let next = 0x1000;
  const scratch = (bytes: number) => {
    const at = next;
    next += (bytes + 63) & ~63;
    return at;
  };
  return { ...context, pool, scratch, stack: fakeStack(pool.base + 200 * 2048, 200, 2048) };
}

test('The warm-up gives the stack back as it was', () => {
  const context = scratchContext();
  const before = [...context.stack.free].sort();
  warmUp(context);
  expect([...context.stack.free].sort()).toEqual(before);
});

test('The warm-up goes through every branch, with most packets well', () => {
  const seen = { received: 0, sent: 0, short: 0, empty: 0, flying: 0 };
  const note = (n: number, key: keyof typeof seen) => {
    seen[key] += n;
    return n;
  };
  const context = scratchContext();
  warmUpWith(
    context,
    (plan, of) => {
      const rx = makeRxQueue(plan, of);
      return {
        ...rx,
        receive: (burst: Burst) => note(rx.receive(burst), 'received') || note(0, 'empty') + Number(seen.empty++ < 0),
      };
    },
    (plan, of) => {
      const tx = makeTxQueue(plan, of);
      const transmit = (burst: Burst, from: number, to: number) => {
        const n = note(tx.transmit(burst, from, to), 'sent');
        if (n < to - from) seen.short++;
        return n;
      };
      return { ...tx, transmit, reclaim: () => note(tx.reclaim(), 'flying') };
    },
  );
  expect(seen.received).toBeGreaterThan(10_000);
  expect(seen.sent).toBeGreaterThan(9000);
  expect(seen.short).toBeGreaterThan(10);
  expect(seen.empty).toBeGreaterThan(100);
  expect(seen.flying).toBeGreaterThan(100);
});
