import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { Audit, type Bridge, type BridgeOptions, bridge, iperf } from '../fakes/bridge.ts';
import { dropWire, makeWire, sh, testAsRoot, type Wire, waitFor } from '../fakes/netns.ts';

const isRoot = process.getuid?.() === 0;

/** Every frame that left one end is in one counter, here and in the kernel. */
async function expectBalanced(audit: Audit, least: number): Promise<void> {
  for (const { ours, kernel } of await audit.end()) {
    expect(ours).toEqual(kernel);
    expect(ours.rx).toBeGreaterThanOrEqual(least);
  }
}

function suite(
  title: string,
  queues: number,
  { offload = true, ...options }: BridgeOptions & { readonly offload?: boolean },
  body: (ends: () => [Wire, Wire, Bridge]) => void,
): void {
  describe(title, () => {
    let ends: [Wire, Wire, Bridge];
    const wires: Wire[] = [];
    beforeAll(async () => {
      if (!isRoot) return;
      wires.push(makeWire(1, { queues, offload }), makeWire(2, { queues, offload }));
      ends = [wires[0]!, wires[1]!, await bridge(wires[0]!, wires[1]!, { queues, ...options })];
    }, 30_000);
    afterAll(async () => {
      if (!isRoot) return;
      try {
        const result = await ends[2].stop();
        expect(result.ledger.errors).toEqual([]);
        expect(result.ledger.balanced).toBe(true);
        expect(result.errors).toEqual([]);
      } finally {
        for (const wire of wires) dropWire(wire);
      }
    }, 30_000);
    body(() => ends);
  });
}

/** Pings wait for the last answer as long as for the next turn: an interval is what a busy machine may be late. */
function pings(ends: () => [Wire, Wire, Bridge]): void {
  testAsRoot('ping and ping -6, up to full-size frames, and not one packet unaccounted for', async () => {
    const [a, b, of] = ends();
    const audit = await Audit.begin(of, a, b);
    for (const size of [0, 56, 1472]) {
      expect(await a.run(`ping -c 3 -i 0.2 -W 1 -M do -s ${size} ${b.address}`)).toContain(' 0% packet loss');
    }
    for (const size of [56, 1452]) {
      expect(await b.run(`ping -6 -c 3 -i 0.2 -W 1 -M do -s ${size} ${a.address6}`)).toContain(' 0% packet loss');
    }
    await expectBalanced(audit, 15);
  });
}

function streams(ends: () => [Wire, Wire, Bridge]): void {
  testAsRoot('iperf3 over TCP, to the packet', async () => {
    const [a, b, of] = ends();
    const audit = await Audit.begin(of, a, b);
    const { bytes } = await iperf(a, b);
    expect(bytes).toBeGreaterThan(1_000_000);
    await expectBalanced(audit, 500);
    const kernel = of.names.map((name) => of.engine.ports.get(name)!.extraStats!());
    expect(kernel.map((counters) => [counters.tx_invalid_descs, counters.rx_invalid_descs])).toEqual([
      [0n, 0n],
      [0n, 0n],
    ]);
  });

  testAsRoot('iperf3 over UDP, to the packet', async () => {
    const [a, b, of] = ends();
    const audit = await Audit.begin(of, a, b);
    const { bytes } = await iperf(a, b, '-u', '-b', '50M', '-l', '1400');
    expect(bytes).toBeGreaterThan(1_000_000);
    await expectBalanced(audit, 10);
  });
}

suite('One queue, adaptive', 1, { mode: 'adaptive' }, (ends) => {
  pings(ends);
  streams(ends);

  testAsRoot('The program is attached in native mode, and says so', () => {
    const [a, , of] = ends();
    expect(sh(`ip -d link show dev ${a.name}`)).toContain('prog/xdp');
    expect(of.engine.ports.get(of.names[0])!.notes!().join('\n')).toContain('XDP in native mode, copy mode');
  });
});

suite('One queue, busy', 1, { mode: 'busy' }, pings);

suite('One queue, interrupts only', 1, { mode: 'interrupt' }, (ends) => {
  pings(ends);

  testAsRoot('The worker sleeps between packets and is woken by each: no ping waits for a timer', async () => {
    const [a, b, of] = ends();
    const before = of.run.stats().workers[0]!.counters;
    const out = await a.run(`ping -c 50 -i 0.02 -W 1 ${b.address}`);
    const after = of.run.stats().workers[0]!.counters;
    const [, average] = /= [\d.]+\/([\d.]+)\//.exec(out)!;
    expect(Number(average)).toBeLessThan(20);
    expect(Number(after.interrupts! - before.interrupts!)).toBeGreaterThanOrEqual(40);
    expect(Number(after.polls! - before.polls!)).toBeLessThan(100_000);
  });
});

// In skb mode nothing cuts what the other end leaves to hardware to cut.
suite('One queue, skb mode', 1, { port: ',mode=skb', offload: false }, (ends) => {
  pings(ends);
  streams(ends);

  testAsRoot('The program is attached in generic mode', () => {
    expect(sh(`ip -d link show dev ${ends()[0].name}`)).toContain('prog/xdp');
    expect(sh(`ip link show dev ${ends()[0].name}`)).toContain('xdpgeneric');
  });
});

suite('One queue, busy polling', 1, { port: ',busy-poll=1', mode: 'busy' }, pings);

suite('Two queues', 2, {}, (ends) => {
  pings(ends);
  streams(ends);

  testAsRoot('Both queues have traffic', async () => {
    const [a, b, of] = ends();
    await iperf(a, b, '-u', '-b', '10M', '-P', '8');
    const port = of.engine.ports.get(of.names[0])!;
    expect([0, 1].map((queue) => port.queueStats('rx', queue).packets! > 0n)).toEqual([true, true]);
  });
});

testAsRoot(
  'One of two queues: the share of the traffic that is missed is said, with the command that mends it',
  async () => {
    const [a, b] = [makeWire(1, { queues: 2 }), makeWire(2, { queues: 2 })];
    try {
      const of = await bridge(a, b);
      const [note] = of.engine.ports.get(of.names[0])!.notes!().filter((n) => n.includes('queues'));
      expect(note).toBe(
        `${a.name} has 2 rx queues, 1 opened: about 50 % of its traffic will not arrive; open all (rxQueues: 2), or before the start: ethtool -L ${a.name} rx 1, after ethtool -L INTERFACE tx 1 at its other end`,
      );
      await of.stop();
    } finally {
      for (const wire of [a, b]) dropWire(wire);
    }
  },
);

/** UDP datagrams that this process gets at 10.77.0.100, by destination port. */
async function listen(...ports: number[]): Promise<{ got: Map<number, number>; close(): void }> {
  const got = new Map(ports.map((port) => [port, 0]));
  const sockets = ports.map((port) => {
    const socket = createSocket('udp4').on('message', () => got.set(port, got.get(port)! + 1));
    socket.bind(port, '10.77.0.100');
    return socket;
  });
  await Promise.all(sockets.map((socket) => once(socket, 'listening')));
  return { got, close: () => sockets.forEach((socket) => void socket.close()) };
}

/** Sends `count` datagrams from as many source ports. */
const sendTo = (from: Wire, port: number, count: number): Promise<string> =>
  from.run(['bash', '-c', `for i in $(seq ${count}); do echo x >/dev/udp/10.77.0.100/${port}; done`]);

testAsRoot("With match= only what was chosen is taken; all else, and its answers, are the kernel's", async () => {
  const [a, b] = [makeWire(1), makeWire(2)];
  try {
    sh(`ip addr add 10.77.0.100/24 dev ${a.name}`);
    const of = await bridge(a, b, { port: ',match=udp/7777+ether/0x88cc' });
    const server = await listen(7777, 7778);
    const taken = () => of.run.stats().ports[of.names[0]]!.rx.packets;
    expect(await a.run('ping -c 3 -i 0.2 -W 1 10.77.0.100')).toContain(' 0% packet loss');
    await sendTo(a, 7778, 5);
    await waitFor('the kernel gets the others', () => server.got.get(7778) === 5);
    expect(taken()).toBe(0n);
    await sendTo(a, 7777, 7);
    await waitFor('the engine gets its own', () => taken() === 7n);
    expect(server.got.get(7777)).toBe(0);
    server.close();
    await of.stop();
  } finally {
    for (const wire of [a, b]) dropWire(wire);
  }
});

for (const closed of [false, true]) {
  testAsRoot(
    `Packets of a queue without a socket ${closed ? 'are dropped, with closed=1' : 'go on to the kernel'}`,
    async () => {
      const [a, b] = [makeWire(1, { queues: 2 }), makeWire(2, { queues: 2 })];
      try {
        sh(`ip addr add 10.77.0.100/24 dev ${a.name}`);
        await a.run('ping -c 1 -W 1 10.77.0.100'); // the neighbour is known from here on
        const of = await bridge(a, b, { port: `,match=udp/7777${closed ? ',closed=1' : ''}` });
        const server = await listen(7777);
        const taken = () => Number(of.run.stats().ports[of.names[0]]!.rx.packets);
        await sendTo(a, 7777, 64);
        const all = () => taken() + server.got.get(7777)!;
        if (closed) {
          await sleep(300);
          expect(server.got.get(7777)).toBe(0);
          expect(taken()).toBeGreaterThan(0);
          expect(all()).toBeLessThan(64);
        } else {
          await waitFor('every packet is somewhere', () => all() === 64);
          expect(server.got.get(7777)).toBeGreaterThan(0);
          expect(taken()).toBeGreaterThan(0);
        }
        server.close();
        await of.stop();
      } finally {
        for (const wire of [a, b]) dropWire(wire);
      }
    },
  );
}

testAsRoot('Without a socket packets reach the kernel; afterwards the interface is as it was', async () => {
  const [a, b] = [makeWire(1), makeWire(2)];
  try {
    sh(`ip addr add 10.77.0.100/24 dev ${a.name}`);
    const of = await bridge(a, b);
    await expect(a.run('ping -c 1 -W 1 10.77.0.100')).rejects.toThrow('100% packet loss');
    await of.stop();
    expect(sh(`ip link show dev ${a.name}`)).not.toContain('xdp');
    expect(await a.run('ping -c 1 -W 1 10.77.0.100')).toContain(' 0% packet loss');
  } finally {
    for (const wire of [a, b]) dropWire(wire);
  }
});
