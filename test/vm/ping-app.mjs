// An application for guests: sends numbered packets, a window of them at a time, and checks each that comes back: every
// byte, and the order. What its wires lose or change is seen; nothing is lost for want of room.

const HEADER = 14;
const TYPE = 0x88b5; // for experiments, IEEE 802 §9.2.3

/** Options: `window` packets under way, `size` bytes each, until `count` have come back. */
export default ({ rx, tx: [out], frames, counter, finish, options }) => {
  const { window, size, count } = options;
  const [good, bad] = [counter('good'), counter('bad')];
  const { u8, view } = frames;
  const burst = frames.burst(window);
  let sent = 0;
  let came = 0;

  const byteOf = (number, i) => (number * 31 + i) & 0xff;

  function fill(at, number) {
    u8.fill(0xff, at, at + 6);
    u8.set([2, 0, 0, 0, 0, 0x77], at + 6);
    view.setUint16(at + 12, TYPE);
    view.setUint32(at + HEADER, number);
    for (let i = HEADER + 4; i < size; i++) u8[at + i] = byteOf(number, i);
  }

  function check(at, length, number) {
    if (length !== size || view.getUint16(at + 12) !== TYPE || view.getUint32(at + HEADER) !== number) return false;
    for (let i = HEADER + 4; i < size; i++) if (u8[at + i] !== byteOf(number, i)) return false;
    return true;
  }

  return () => {
    const n = rx.receive(burst);
    for (let i = 0; i < n; i++) {
      const ok = check(burst.offsets[i], burst.lengths[i], came++);
      (ok ? good : bad)(1);
    }
    frames.free(burst, 0, n);
    if (came >= count) finish();
    const more = frames.allocate(burst, 0, Math.min(window - (sent - came), count - sent));
    for (let i = 0; i < more; i++) {
      fill(burst.offsets[i], sent + i);
      burst.lengths[i] = size;
    }
    const taken = more > 0 ? out.transmit(burst, 0, more) : 0;
    frames.free(burst, taken, more);
    sent += taken;
    return n + taken;
  };
};
