import { describe, expect, test } from 'vitest';
import { DROP, MORE } from '../../lib/queue.ts';
import { l2fwd } from '../../workers/apps/l2fwd.ts';
import { fakeContext, fakeFrames, fakePort, fakeRing } from '../fakes/queues.ts';

/** l2fwd between two rings; the rx queue says whether packets have several frames. */
function forward(segments: boolean, options = {}) {
  const frames = fakeFrames(64);
  const [wire, out] = [fakeRing(frames), fakeRing(frames)];
  const rx = { ...wire.rx, segments };
  const ports = { rxPort: fakePort(1), txPorts: [fakePort(3)] };
  const context = fakeContext(options, { frames, rx, tx: [out.tx], ...ports });
  return { frames, wire, out, poll: l2fwd(context) };
}

const NEW = [2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 3];
const bytes = (fill: number): Uint8Array => new Uint8Array(60).fill(fill);

describe('l2fwd of packets of several frames', () => {
  test('writes addresses at the start of each packet, and changes nothing in the frames that follow', () => {
    const { wire, out, poll } = forward(true);
    for (let i = 0; i < 6; i++) wire.insert(bytes(0x11 * (i + 1)), i);
    // One frame, three, one, and one.
    for (const i of [1, 2]) wire.resize(i, MORE + 60);
    expect(poll()).toBe(6);
    expect(out.wire.map(({ length }) => length)).toEqual([60, MORE + 60, MORE + 60, 60, 60, 60]);
    for (const i of [1, 2]) out.resize(i, 60);
    const got = Array.from({ length: 6 }, (_, i) => [...out.bytes(i)]);
    for (const i of [0, 1, 4, 5]) {
      expect(got[i]).toEqual([...NEW, ...bytes(0x11 * (i + 1)).subarray(12)]);
    }
    for (const i of [2, 3]) expect(got[i]).toEqual([...bytes(0x11 * (i + 1))]);
  });

  test('drops the frames of what is not accepted one by one', () => {
    const { frames, wire, out, poll } = forward(true, { macUpdating: false });
    for (let i = 0; i < 3; i++) wire.insert(bytes(i), i);
    for (const i of [1]) wire.resize(i, MORE + 60);
    out.capacity = 1;
    expect(poll()).toBe(1);
    expect([...frames.dropped]).toEqual([[DROP.tx_full, 2]]);
  });
});
