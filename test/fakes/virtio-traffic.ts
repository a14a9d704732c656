/** Traffic through one virtio-net queue, as many packets as one likes. */
import { packetOf, type VirtioWorld } from './virtio-queues.ts';

/** `count` packets come in, in bursts of up to `most`; returns the first byte of each as received. */
export function receiveTraffic(
  world: VirtioWorld,
  rx: ReturnType<VirtioWorld['makeRx']>,
  count: number,
  most = 7,
): number[] {
  const got: number[] = [];
  const burst = world.burst(most);
  for (let sent = 0; got.length < count; ) {
    for (let i = 0; i < most && sent < count && world.deliver(packetOf(sent, 14 + (sent % 50))); i++) sent++;
    const n = rx.receive(burst);
    for (let i = 0; i < n; i++) got.push(world.bytes[burst.offsets[i]]);
    world.stack.give(burst.offsets, 0, n);
    world.device.sample();
  }
  return got;
}

/** `count` packets go out, in bursts of up to `most`; returns the first byte of each as sent. */
export function sendTraffic(
  world: VirtioWorld,
  tx: ReturnType<VirtioWorld['makeTx']>,
  count: number,
  most = 7,
): number[] {
  const out: number[] = [];
  for (let sent = 0; out.length < count; ) {
    const n = Math.min(most, count - sent);
    const burst = world.burst(Math.max(1, n));
    const got = world.stack.take(burst.offsets, 0, n);
    for (let i = 0; i < got; i++) {
      burst.lengths[i] = 14 + ((sent + i) % 50);
      world.bytes[burst.offsets[i]] = ((sent + i) * 7) & 0xff;
    }
    const accepted = tx.transmit(burst, 0, got);
    world.stack.give(burst.offsets, accepted, got);
    sent += accepted;
    tx.kick();
    out.push(...world.collect(most).map(({ packet }) => packet[0]));
    world.device.sample();
    tx.reclaim();
  }
  return out;
}

/** What `receiveTraffic` and `sendTraffic` return when nothing is lost, doubled or out of order. */
export const inSequence = (count: number): number[] => Array.from({ length: count }, (_, i) => (i * 7) & 0xff);
