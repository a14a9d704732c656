/** XDP programs of the bench: one that the kernel runs over frames of its own making, and one that drops everything. */
import { ALU, alu, assemble, call, exit } from '../lib/bpf/asm.ts';
import { XDP } from '../lib/bpf/redirect.ts';
import { ATTACH_MODE, attachXdp, loadXdp } from '../lib/bpf/syscalls.ts';
import { errnoName } from '../lib/system-error.ts';
import type { Native } from '../native/index.ts';

/** Commands and flags of bpf(2), and bpf_redirect (include/uapi/linux/bpf.h). */
const PROGRAM_TEST_RUN = 10;
const TEST_XDP_LIVE_FRAMES = 1 << 1;
const REDIRECT = 23;

/** More frames than anybody waits for. */
const ENDLESS = 0x7fff_ffff;

/**
 * Makes what sends `frame` by an interface, again and again, without sockets and socket buffers, until a signal comes:
 * XDP_REDIRECT over live frames (Linux 5.18, Documentation/bpf/bpf_prog_run.rst). The interface's driver must take XDP
 * frames; a veth does when a program is attached at its other end, or GRO is on there.
 */
export function frameSender(native: Native, ifindex: number, frame: Uint8Array): () => void {
  const code = assemble([alu(ALU.mov, 1, ifindex), alu(ALU.mov, 2, 0), call(REDIRECT), exit()]);
  const program = loadXdp(native, code, { frags: false });
  return () => {
    const attr = new Uint8Array(80);
    const view = new DataView(attr.buffer);
    view.setUint32(0, program, true);
    view.setUint32(8, frame.length, true);
    view.setUint32(32, ENDLESS, true);
    view.setUint32(64, TEST_XDP_LIVE_FRAMES, true);
    try {
      // One call: between two, the kernel tidies up for longer than rings last.
      native.bpf(PROGRAM_TEST_RUN, attr, [[16, frame]]);
    } catch (error) {
      if (errnoName(error) !== 'EINTR') throw error;
    }
  };
}

/** Drops what an interface receives, in its driver, until this process ends. */
export function dropAll(native: Native, ifindex: number): void {
  const program = loadXdp(native, assemble([alu(ALU.mov, 0, XDP.drop), exit()]), { frags: false });
  attachXdp(native, program, ifindex, ATTACH_MODE.native);
}
