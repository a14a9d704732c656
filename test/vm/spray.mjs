// Applications for tests of RSS: TCP segments of many connections, some at a time, and who counts them by connection.
const FLOWS = 100;
const BYTES = 60;
const RATE_US = 500;
/** Ethernet, IPv4 with its protocol at byte 23, TCP ports from byte 34 on. */
const HEADERS = Uint8Array.of(
  ...[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0],
  ...[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2],
  ...[0, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0],
);

/** Sends `count` segments, from ports 1000 on in turn, a few each half millisecond. */
export const spray = ({ frames, tx: [tx], counter, options: { count }, wakeAfter, finish }) => {
  const sent = counter('sent');
  const burst = frames.burst(2);
  let n = 0;
  return () => {
    wakeAfter(RATE_US);
    const made = frames.allocate(burst, 0, Math.min(burst.size, count - n));
    for (let i = 0; i < made; i++) {
      frames.u8.set(HEADERS, burst.offsets[i]);
      frames.u8.fill(0, burst.offsets[i] + HEADERS.length, burst.offsets[i] + BYTES);
      frames.view.setUint16(burst.offsets[i] + 34, 1000 + ((n + i) % FLOWS));
      burst.lengths[i] = BYTES;
    }
    const taken = tx.transmit(burst, 0, made);
    frames.free(burst, taken, made);
    n += taken;
    sent(taken);
    if (n === count) finish();
    return 0;
  };
};

/** Counts segments as `received`, and connections that it had not seen before as `flows`. */
export const count = ({ rx, frames, burst: size, counter }) => {
  const received = counter('received');
  const flows = counter('flows');
  const seen = new Uint8Array(0x1_0000);
  const burst = frames.burst(size);
  return () => {
    const n = rx.receive(burst);
    for (let i = 0; i < n; i++) {
      const port = frames.view.getUint16(burst.offsets[i] + 34);
      if (seen[port] === 0) flows(1);
      seen[port] = 1;
    }
    frames.free(burst, 0, n);
    received(n);
    return n;
  };
};
