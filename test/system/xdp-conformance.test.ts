/** The cases of the kernel's own AF_XDP self-test that apply to us, by their names: see docs/conformance.md. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect } from 'vitest';
import { Arena } from '../../lib/arena/arena.ts';
import { readCounters } from '../../lib/arena/counters.ts';
import { FramePool, type FramePoolOptions } from '../../lib/arena/frame-pool.ts';
import { makeFrameStack } from '../../lib/arena/frame-stack.ts';
import { stackBytes } from '../../lib/arena/frames-plan.ts';
import { parseMatch } from '../../lib/bpf/match.ts';
import { redirectProgram, XDP } from '../../lib/bpf/redirect.ts';
import { ATTACH_MODE, attachXdp, createXskMap, loadXdp, setXskMap } from '../../lib/bpf/syscalls.ts';
import { openSocket, openXsk, type RingSizes, type Xsk } from '../../lib/devios/xsk-socket.ts';
import { placeData, XDP_RX_NAMES, XDP_TX_NAMES } from '../../lib/drivers/xdp/places.ts';
import { makeRxQueue, makeTxQueue } from '../../lib/drivers/xdp/queue.ts';
import { XDP_MAX_SEGMENTS } from '../../lib/drivers/xdp/regs.ts';
import { COUNTER_NAMES } from '../../lib/pktio/memory-port.ts';
import { type Burst, MORE, type QueueContext, type QueuePlan, type RxQueue, type TxQueue } from '../../lib/queue.ts';
import { loadNative } from '../../native/index.ts';
import { sh, testAsRoot, waitFor } from '../fakes/netns.ts';

const native = loadNative();
const undo: (() => void)[] = [];
afterEach(() => {
  for (const action of undo.splice(0).reverse()) action();
});

/** One end of a wire: a socket, its queues, and the program that feeds it. */
interface End {
  readonly xsk: Xsk;
  readonly rx: RxQueue;
  readonly tx: TxQueue;
  readonly counters: () => { rx: Record<string, bigint>; tx: Record<string, bigint> };
  detach(): void;
  close(): void;
}

interface Options {
  readonly pool?: FramePoolOptions;
  readonly sizes?: Partial<RingSizes>;
  readonly match?: string;
  readonly mode?: keyof typeof ATTACH_MODE;
  readonly mtu?: number;
  /** Packets of several frames. */
  readonly several?: boolean;
}

let made = 0;

/** A veth with an engine's queues at both ends, in one pool of frames. */
async function wire({ pool = {}, sizes = {}, match, mode = 'native', mtu = 1500, several = false }: Options = {}) {
  const names = ['a', 'b'].map((end) => `lx${process.pid % 100_000}${end}${made}`);
  made++;
  sh(`ip link add ${names[0]} mtu ${mtu} type veth peer name ${names[1]} mtu ${mtu}`);
  undo.push(() => void sh(`ip link del ${names[0]}`));
  for (const name of names) {
    sh(`sysctl -qw net.ipv6.conf.${name}.disable_ipv6=1`);
    sh(`ip link set ${name} up`);
  }
  const arena = new Arena(native);
  undo.push(() => arena.close());
  const frames = new FramePool(arena, { frames: 2048, ...pool });
  const { plan } = frames;
  const stack = makeFrameStack(arena.memory, plan, arena.allocate(stackBytes(plan.count)), 0);
  const fail = (): never => {
    throw new Error('a queue must not do that');
  };
  const context: QueueContext = {
    memory: arena.memory,
    pool: plan,
    stack,
    clock: { now: () => 0, utc: () => {}, words: new Int32Array(4) },
    kick: fail,
    scratch: fail,
    kickTx: (fd) => native.kickTx(fd),
    kickRx: (fd) => native.kickRx(fd),
  };
  const open = async (name: string, sharing?: Xsk): Promise<End> => {
    const index = Number(sh(`cat /sys/class/net/${name}/ifindex`));
    const map = createXskMap(native, 4);
    const program = loadXdp(native, redirectProgram(map, match === undefined ? [] : parseMatch(match), XDP.pass), {
      frags: several,
    });
    let link = attachXdp(native, program, index, ATTACH_MODE[mode]);
    const all: RingSizes = { rx: 512, fill: 512, tx: 512, completion: 512, ...sizes };
    const options = { firstQueue: 0, match: [], closed: false, busyPoll: false, force: false };
    const socket = async () => openSocket(native, false);
    const where = { name, index, queue: 0, socket };
    const xsk = await openXsk(arena, frames, where, all, options, sharing, several);
    expect(xsk.multiBuffer).toBe(several);
    setXskMap(native, map, 0, xsk.fd);
    const queue = (direction: 'rx' | 'tx', rings: [string, string], own: readonly string[]): QueuePlan => {
      const counterNames = [...COUNTER_NAMES[direction], ...own];
      const [first, second] = rings.map((ring) => placeData(ring, xsk.rings[ring as 'rx'])) as [object, object];
      const common = {
        base: plan.base,
        umemBytes: plan.count * plan.frameSize,
        frameShift: Math.log2(plan.frameSize),
        frames: plan.count,
        busyPoll: 0,
        fillChecksums: 0,
        socket: xsk.fd,
        budget: xsk.budget,
        segments: several ? XDP_MAX_SEGMENTS : 1,
        // So that each ring can be the one that is full.
        most: xsk.rings.fill.size + xsk.rings.rx.size,
      };
      const data = { ...common, ...first, ...second, map: arena.allocate(plan.count) } as Record<string, number>;
      return {
        module: '',
        direction,
        port: name,
        queue: 0,
        counters: arena.allocate(counterNames.length * 8),
        counterNames,
        fd: xsk.fd,
        maxLength: mtu + 18,
        data,
      };
    };
    const plans = {
      rx: queue('rx', ['rx', 'fill'], XDP_RX_NAMES),
      tx: queue('tx', ['tx', 'completion'], XDP_TX_NAMES),
    };
    const read = ({ counters, counterNames }: QueuePlan) => readCounters(arena.memory, counters, counterNames);
    const detach = () => {
      if (link >= 0) native.close(link);
      link = -1;
    };
    let opened = true;
    const close = () => {
      if (!opened) return;
      opened = false;
      detach();
      xsk.close();
      // The kernel has let go of them: whatever it had is free.
      for (const { data } of Object.values(plans)) {
        const held = new Uint8Array(arena.memory, data.map!, plan.count);
        for (const [i, state] of held.entries()) if (state !== 0) stack.push(plan.base + i * plan.frameSize);
      }
      native.close(map);
      native.close(program);
    };
    undo.push(close);
    return {
      xsk,
      rx: makeRxQueue(plans.rx, context),
      tx: makeTxQueue(plans.tx, context),
      counters: () => ({ rx: read(plans.rx), tx: read(plans.tx) }),
      detach,
      close,
    };
  };
  const a = await open(names[0]!);
  const b = await open(names[1]!, a.xsk);
  const burst = (size = 32): Burst => ({
    size,
    offsets: new Int32Array(size),
    lengths: new Int32Array(size),
    count: 0,
  });

  /** Sends packets `from` to `to`, each with its number; returns how many the queue took. */
  const send = (end: End, from: number, to: number, length = 64, type = 0x88b5): number => {
    const out = burst(to - from);
    out.count = stack.take(out.offsets, 0, to - from);
    for (let i = 0; i < out.count; i++) {
      const at = out.offsets[i]!;
      arena.u8.fill((from + i) & 0xff, at, at + Math.max(length, 20));
      new DataView(arena.memory).setUint16(at + 12, type);
      new DataView(arena.memory).setUint32(at + 14, from + i);
      out.lengths[i] = length;
    }
    const sent = end.tx.transmit(out, 0, out.count);
    stack.give(out.offsets, sent, out.count);
    end.tx.kick();
    end.tx.reclaim();
    return sent;
  };
  /** Receives all that is there; returns the packets' numbers, having looked at their bytes. */
  const receive = (end: End, length = 64): number[] => {
    const numbers: number[] = [];
    const into = burst();
    while (end.rx.receive(into) > 0) {
      for (let i = 0; i < into.count; i++) {
        const at = into.offsets[i]!;
        const number = new DataView(arena.memory).getUint32(at + 14);
        expect(into.lengths[i]).toBe(length);
        if (length > 18) expect(arena.u8[at + length - 1]).toBe(number & 0xff);
        numbers.push(number);
      }
      stack.give(into.offsets, 0, into.count);
    }
    return numbers;
  };
  /** Sends `count` packets by `from` and receives them at `to`; returns their numbers. */
  const pass = async (from: End, to: End, count: number, length = 64): Promise<number[]> => {
    const got: number[] = [];
    const end = performance.now() + 10_000;
    for (let sent = 0; sent < count && performance.now() < end; ) {
      sent += send(from, sent, Math.min(count, sent + 32), length);
      got.push(...receive(to, length));
    }
    await waitFor('all are there', () => got.push(...receive(to, length)) >= count, 2000).catch(() => undefined);
    return got;
  };
  /** A burst of one packet with segments of these lengths; its bytes count up, modulo 251. */
  const packet = (...lengths: number[]): Burst => {
    const out = burst(lengths.length);
    out.count = stack.take(out.offsets, 0, lengths.length);
    let next = 0;
    for (const [i, length] of lengths.entries()) {
      const at = out.offsets[i]!;
      for (let b = 0; b < length; b++) arena.u8[at + b] = next++ % 251;
      if (i === 0) new DataView(arena.memory).setUint16(at + 12, 0x88b5);
      out.lengths[i] = i < lengths.length - 1 ? MORE + length : length;
    }
    return out;
  };
  /** Offers a burst, which `end` accepts whole. */
  const offer = (end: End, out: Burst): void => {
    expect(end.tx.transmit(out, 0, out.size)).toBe(out.size);
    end.tx.kick();
  };
  /** The lengths of the segments of each packet that is there, whose bytes are as `packet` wrote them. */
  const packets = (end: End, size = 64): number[][] => {
    const list: number[][] = [];
    const into = burst(size);
    while (end.rx.receive(into) > 0) {
      let lengths: number[] = [];
      let next = 0;
      for (let i = 0; i < into.count; i++) {
        const length = into.lengths[i]! & ~MORE;
        const got = arena.u8.slice(into.offsets[i], into.offsets[i]! + length);
        const want = Uint8Array.from(got, (_, b) => (next + b) % 251);
        if (lengths.length === 0) want.set([0x88, 0xb5], 12);
        expect(Buffer.compare(got, want)).toBe(0);
        next += length;
        lengths.push(length);
        if (into.lengths[i]! >= MORE) continue;
        list.push(lengths);
        lengths = [];
        next = 0;
      }
      stack.give(into.offsets, 0, into.count);
    }
    return list;
  };
  return { a, b, open, names, send, receive, pass, packet, offer, packets, frames, stack, arena };
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

for (const mode of ['native', 'skb'] as const) {
  testAsRoot(`SEND_RECEIVE (${mode}): all packets, in order, with their bytes`, async () => {
    const { a, b, pass } = await wire({ mode, pool: { frameSize: 4096 } });
    expect(await pass(a, b, 4096)).toEqual(upTo(4096));
    expect(await pass(a, b, 100, 1514)).toEqual(upTo(100));
  });

  testAsRoot(`SEND_RECEIVE_2K_FRAME (${mode})`, async () => {
    const { a, b, pass } = await wire({ mode, pool: { frameSize: 2048 } });
    expect(await pass(a, b, 4096)).toEqual(upTo(4096));
  });

  testAsRoot(`BIDIRECTIONAL (${mode})`, async () => {
    const { a, b, pass } = await wire({ mode });
    expect(await Promise.all([pass(a, b, 1000), pass(b, a, 1000)])).toEqual([upTo(1000), upTo(1000)]);
    for (const end of [a, b]) expect(end.counters().tx).toMatchObject({ packets: 1000n, completed: 1000n, kernel: 0n });
  });
}

testAsRoot('SEND_RECEIVE_SINGLE_PKT', async () => {
  const { a, b, pass } = await wire();
  expect(await pass(a, b, 1)).toEqual([0]);
});

testAsRoot('POLL_RX: the socket becomes readable when a packet comes; POLL_RXQ_EMPTY: and not before', async () => {
  const { a, b, send, receive } = await wire();
  const epoll = native.epollCreate();
  undo.push(() => native.close(epoll));
  native.epollAdd(epoll, b.xsk.fd);
  native.epollWait(epoll, 1000); // adding may report what there was before
  expect(native.epollWait(epoll, 20_000)).toBe(0);
  send(a, 0, 1);
  expect(native.epollWait(epoll, 500_000)).toBe(1);
  expect(receive(b)).toEqual([0]);
});

testAsRoot(
  'POLL_TXQ_FULL, TX_QUEUE_CONSUMER: a full tx ring takes no more; one kick empties it, beyond what one call sends',
  async () => {
    const { a, b, send, receive } = await wire({ sizes: { tx: 64, completion: 64 } });
    expect(send(a, 0, 100)).toBe(64);
    expect(a.counters().tx).toMatchObject({ packets: 64n, completed: 64n });
    await sleep(10);
    expect(receive(b)).toEqual(upTo(64));
  },
);

testAsRoot(
  'ALIGNED_INV_DESC, ALIGNED_INV_DESC_2K_FRAME_SIZE, STAT_TX_INVALID: the kernel never sees an invalid descriptor',
  async () => {
    const { a, b, frames, stack, receive } = await wire();
    const { base, count, frameSize } = frames.plan;
    const invalid: [number, number][] = [
      [base - frameSize, 64],
      [base + count * frameSize, 64],
      [0, 64],
      [-2, 64], // outside
      [stack.pop(), 0],
      [stack.pop(), 13],
      [stack.pop(), 1519],
      [stack.pop(), 2049],
      [stack.pop(), -1], // no length
      [stack.pop() + 1500, 600], // across the frame's end
    ];
    const good = stack.pop();
    const packets = [...invalid, [good, 64] as [number, number]];
    const burst: Burst = {
      size: packets.length,
      offsets: Int32Array.from(packets, ([at]) => at),
      lengths: Int32Array.from(packets, ([, n]) => n),
      count: packets.length,
    };
    expect(a.tx.transmit(burst, 0, burst.count)).toBe(packets.length);
    a.tx.kick();
    expect(a.tx.reclaim()).toBe(0);
    const { packets: accepted, completed, runt, oversize, invalid: refused } = a.counters().tx;
    expect([accepted, completed, runt! + oversize! + refused!]).toEqual([11n, 1n, 10n]);
    expect(a.xsk.statistics().tx_invalid_descs).toBe(0n);
    await sleep(10);
    expect(receive(b).length).toBe(1);
  },
);

testAsRoot('UMEM_HEADROOM: packets lie behind the headroom that was asked for', async () => {
  const { a, b, send, stack } = await wire({ pool: { headroom: 512 } });
  send(a, 0, 1);
  await sleep(10);
  const burst: Burst = { size: 1, offsets: new Int32Array(1), lengths: new Int32Array(1), count: 0 };
  expect(b.rx.receive(burst)).toBe(1);
  expect(burst.offsets[0]! % 2048).toBe(512);
  stack.give(burst.offsets, 0, 1);
});

testAsRoot('TEARDOWN: sockets are closed and opened again under way, ten times', async () => {
  const { a, b, open, names, pass } = await wire();
  let ends: [End, End] = [a, b];
  for (let round = 0; round < 10; round++) {
    expect(await pass(ends[0], ends[1], 100)).toEqual(upTo(100));
    for (const end of ends) end.close();
    const first = await open(names[0]!);
    ends = [first, await open(names[1]!, first.xsk)];
  }
});

testAsRoot('STAT_RX_DROPPED: what does not fit a frame is dropped and counted by the kernel', async () => {
  const { a, b, send, receive, stack } = await wire({ pool: { headroom: 1536 } });
  send(a, 0, 10, 500); // 2048 - 1536 is just enough
  // Sent from the start of their frames, where there is room.
  const large: Burst = { size: 10, offsets: new Int32Array(10), lengths: new Int32Array(10).fill(600), count: 10 };
  expect(stack.take(large.offsets, 0, 10)).toBe(10);
  for (const i of large.offsets.keys()) large.offsets[i]! &= ~2047;
  a.tx.transmit(large, 0, 10);
  a.tx.kick();
  await sleep(10);
  expect(receive(b, 500)).toEqual(upTo(10));
  expect(b.xsk.statistics()).toMatchObject({ rx_dropped: 10n });
});

testAsRoot('STAT_RX_FULL: what finds the rx ring full is dropped and counted by the kernel', async () => {
  const { a, b, send, receive } = await wire({ sizes: { rx: 64 } });
  send(a, 0, 100);
  await sleep(10);
  expect(b.xsk.statistics()).toMatchObject({ rx_ring_full: 36n });
  expect(receive(b)).toEqual(upTo(64));
});

testAsRoot('STAT_FILL_EMPTY: what finds no frame is dropped and counted by the kernel', async () => {
  const { a, b, send, receive } = await wire({ sizes: { fill: 64 } });
  send(a, 0, 100);
  await sleep(10);
  const { rx_fill_ring_empty_descs, rx_dropped } = b.xsk.statistics();
  expect(rx_fill_ring_empty_descs).toBeGreaterThan(0n);
  expect(rx_dropped).toBe(36n);
  expect(receive(b)).toEqual(upTo(64));
});

testAsRoot('XDP_PROG_CLEANUP: without the program no packet comes to the socket any more', async () => {
  const { a, b, pass, send, receive } = await wire();
  expect(await pass(a, b, 10)).toEqual(upTo(10));
  b.detach();
  send(a, 0, 10);
  await sleep(20);
  expect(receive(b)).toEqual([]);
});

testAsRoot('XDP_DROP_HALF: of two kinds of packets the program lets one through', async () => {
  const { a, b, send, receive } = await wire({ match: 'ether/0x88b5' });
  for (let i = 0; i < 100; i++) send(a, i, i + 1, 64, i % 2 === 0 ? 0x88b5 : 0x88b6);
  await sleep(20);
  expect(receive(b)).toEqual(upTo(50).map((i) => i * 2));
});

testAsRoot('XDP_SHARED_UMEM: a frame received by one socket is sent by another, without a copy', async () => {
  const { a, b, send, receive, stack } = await wire();
  send(a, 7, 8);
  await sleep(10);
  const burst: Burst = { size: 1, offsets: new Int32Array(1), lengths: new Int32Array(1), count: 0 };
  expect(b.rx.receive(burst)).toBe(1);
  expect(b.tx.transmit(burst, 0, 1)).toBe(1);
  b.tx.kick();
  expect(b.tx.reclaim()).toBe(0);
  await sleep(10);
  expect(receive(a)).toEqual([7]);
  expect(stack.ask(1)).toBeGreaterThan(0);
});

for (const [name, size] of [
  ['HW_SW_MIN_RING_SIZE', 64],
  ['HW_SW_MAX_RING_SIZE', 16_384],
] as const) {
  testAsRoot(`${name}: rings of ${size}`, async () => {
    const { a, b, pass } = await wire({
      sizes: { rx: size, fill: size, tx: size, completion: size },
      pool: { frames: 40_000 },
    });
    expect(await pass(a, b, 5000)).toEqual(upTo(5000));
  });
}

testAsRoot('Ring indices that pass 2^16, with bursts of every size', async () => {
  const { a, b, send, receive } = await wire({ sizes: { rx: 64, fill: 64, tx: 64, completion: 64 } });
  let sent = 0;
  const got: number[] = [];
  for (let round = 0; sent < 70_000; round++) {
    sent += send(a, sent, sent + 1 + (round % 48));
    got.push(...receive(b));
  }
  await sleep(10);
  got.push(...receive(b));
  expect(got.length).toBe(sent);
  expect(got.every((number, i) => number === i)).toBe(true);
});

/** What the kernel puts into a frame of 2,048 bytes with the headroom of 256. */
const ROOM = 1792;
const bytesOf = (lengths: readonly number[]): number => lengths.reduce((sum, n) => sum + n, 0);

for (const mode of ['native', 'skb'] as const) {
  testAsRoot(`SEND_RECEIVE_9K_PACKETS (${mode}): packets of 9,000 bytes in frames of 2,048`, async () => {
    const { a, b, packet, offer, packets } = await wire({ mode, mtu: 9000, several: true });
    const cut = [ROOM, ROOM, ROOM, ROOM, ROOM, 9000 - 5 * ROOM];
    const got: number[][] = [];
    for (let i = 0; i < 500; i++) {
      offer(a, i % 2 === 0 ? packet(...cut) : packet(60));
      a.tx.reclaim();
      got.push(...packets(b, 8));
    }
    await waitFor('all are there', () => got.push(...packets(b, 8)) >= 500, 2000);
    expect(got).toEqual(Array.from({ length: 500 }, (_, i) => (i % 2 === 0 ? cut : [60])));
    a.tx.reclaim();
    const sent = { packets: 500n, bytes: 250n * 9060n, extra_frames: 1250n };
    expect(a.counters().tx).toMatchObject({ ...sent, completed: 1750n, kernel: 0n, invalid: 0n });
    expect(b.counters().rx).toMatchObject({ ...sent, runt: 0n, oversize: 0n, invalid: 0n });
    expect(a.xsk.statistics().tx_invalid_descs).toBe(0n);
  });

  testAsRoot(
    `TOO_MANY_FRAGS (${mode}): 17 segments pass, more are refused whole, and the next packet passes`,
    async () => {
      const { a, b, packet, offer, packets } = await wire({ mode, mtu: 9000, several: true });
      for (const n of [17, 18, 19, 64, 1, 16]) offer(a, packet(...Array<number>(n).fill(100)));
      await waitFor('all are sent', () => a.tx.reclaim() === 0, 2000);
      await sleep(10);
      const got = packets(b);
      expect(got.map(bytesOf)).toEqual([1700, 100, 1600]);
      expect(a.counters().tx).toMatchObject({ packets: 6n, completed: 34n, oversize: 101n, kernel: 0n });
      expect(a.xsk.statistics().tx_invalid_descs).toBe(0n);
    },
  );
}

testAsRoot('ALIGNED_INV_DESC_MULTI_BUFF: of a packet with an invalid segment the kernel sees nothing', async () => {
  const { a, b, frames, stack, packet, offer, packets } = await wire({ mtu: 9000, several: true });
  const { base, count, frameSize } = frames.plan;
  const spoilt: [index: number, offset: number | undefined, length: number | undefined][] = [
    [1, base - frameSize, undefined],
    [1, base + count * frameSize, undefined],
    [2, 0, undefined],
    [1, undefined, MORE],
    [1, undefined, MORE + 2049],
    [2, undefined, 0],
    [0, undefined, MORE + 13],
    [2, undefined, MORE + 100],
  ];
  const free = stack.ask(count);
  for (const [index, offset, length] of spoilt) {
    const burst = packet(1000, 1000, 100);
    if (offset !== undefined) stack.push(burst.offsets[index]!);
    burst.offsets[index] = offset ?? burst.offsets[index]!;
    burst.lengths[index] = length ?? burst.lengths[index]!;
    offer(a, burst);
    offer(a, packet(1000, 500));
  }
  await waitFor('all are sent', () => a.tx.reclaim() === 0, 2000);
  await sleep(10);
  expect(packets(b)).toEqual(spoilt.map(() => [1500]));
  const { packets: accepted, completed, runt, oversize, invalid } = a.counters().tx;
  expect([accepted, completed, runt! + oversize! + invalid!]).toEqual([16n, 16n, 24n]);
  expect(a.xsk.statistics().tx_invalid_descs).toBe(0n);
  expect(stack.ask(count)).toBe(free);
});

testAsRoot('UMEM_HEADROOM, packets of several frames: each lies behind the headroom', async () => {
  const { a, b, stack, packet, offer } = await wire({ mtu: 9000, several: true, pool: { headroom: 512 } });
  offer(a, packet(1500, 1500, 1500));
  await sleep(10);
  const burst: Burst = { size: 8, offsets: new Int32Array(8), lengths: new Int32Array(8), count: 0 };
  expect(b.rx.receive(burst)).toBe(3);
  expect([...burst.lengths.subarray(0, 3)]).toEqual([MORE + 1536, MORE + 1536, 4500 - 2 * 1536]);
  expect([...burst.offsets.subarray(0, 3)].map((offset) => offset % 2048)).toEqual([512, 512, 512]);
  stack.give(burst.offsets, 0, 3);
});
