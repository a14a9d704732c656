// Packets that do not fit one frame go out and come back, a few at a time: sent in as many segments as they take, checked
// byte by byte.

const MORE = 1 << 30;
/** Under way at a time. */
const WINDOW = 8;
const byteAt = (number, i) => (i < 4 ? (number >>> (8 * i)) & 0xff : (number * 7 + i * 13 + (i >>> 8)) & 0xff);

/** Bytes of packet `number`: from one segment to as many as a packet of `most` bytes has. */
const lengthOf = (number, most) => 60 + ((number * 977) % (most - 59));

export default ({ rx, tx: [out], frames, counter, options: { count, most } }) => {
  const burst = frames.burst(32);
  const good = counter('good');
  const bad = counter('bad');
  const { room } = frames;
  let sent = 0;
  let next = 0;

  function send() {
    const length = lengthOf(sent, most);
    const n = Math.ceil(length / room);
    const got = frames.allocate(burst, 0, n);
    for (let s = 0; s < got; s++) {
      const bytes = Math.min(room, length - s * room);
      for (let i = 0; i < bytes; i++) frames.u8[burst.offsets[s] + i] = byteAt(sent, s * room + i);
      burst.lengths[s] = bytes + (s < n - 1 ? MORE : 0);
    }
    const accepted = got < n ? 0 : out.transmit(burst, 0, n);
    // All of a packet, or nothing of it.
    if (accepted === 0) frames.free(burst, 0, got);
    else sent++;
    return accepted;
  }

  function check(n) {
    for (let i = 0; i < n; ) {
      let at = 0;
      let right = true;
      for (let more = true; more; i++) {
        more = burst.lengths[i] >= MORE;
        const bytes = burst.lengths[i] & ~MORE;
        for (let b = 0; b < bytes; b++) right &&= frames.u8[burst.offsets[i] + b] === byteAt(next, at + b);
        at += bytes;
      }
      (right && at === lengthOf(next, most) ? good : bad)(1);
      next++;
    }
    frames.free(burst, 0, n);
  }

  return () => {
    const n = rx.receive(burst);
    check(n);
    return sent < count && sent - next < WINDOW ? n + send() : n;
  };
};
