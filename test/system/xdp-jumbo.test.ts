/** Packets of several frames, between the kernel and l2fwd: MTU 9000 with frames of 2,048 bytes. */
import { openEngine } from 'linecard';
import { afterEach, describe, expect } from 'vitest';
import { Audit, type Bridge, bridge, iperf } from '../fakes/bridge.ts';
import { dropWire, makeWire, sh, testAsRoot, type Wire, type WireOptions, waitFor } from '../fakes/netns.ts';

const wires: Wire[] = [];
afterEach(() => {
  for (const wire of wires.splice(0)) dropWire(wire);
});

/** A wire that is gone after the test. */
function wire(host: number, options: WireOptions = {}): Wire {
  const made = makeWire(host, { mtu: 9000, ...options });
  wires.push(made);
  return made;
}

const txOf = (of: Bridge, port: 0 | 1) => of.run.stats().ports[of.names[port]]!.tx;
const rxOf = (of: Bridge, port: 0 | 1) => of.run.stats().ports[of.names[port]]!.rx;

/** Every packet that left one end is in one counter here and in the kernel, none was refused, all frames are there. */
async function expectBalanced(of: Bridge, audit: Audit, least: number): Promise<void> {
  for (const { ours, kernel } of await audit.end()) {
    expect(ours).toEqual(kernel);
    expect(ours.rx).toBeGreaterThanOrEqual(least);
  }
  for (const port of [0, 1] as const) {
    const { packets, extra_frames, completed } = txOf(of, port);
    expect(completed).toBe(packets + extra_frames!);
    expect(of.engine.ports.get(of.names[port])!.extraStats!()).toMatchObject({ tx_invalid_descs: 0n });
  }
  const result = await of.stop();
  expect([result.ledger.errors, result.errors]).toEqual([[], []]);
}

describe.each(['native', 'skb'] as const)('Jumbo frames, %s mode', (mode) => {
  testAsRoot('ping and ping -6 up to 9000 bytes, and not one packet unaccounted for', async () => {
    const [a, b] = [wire(1), wire(2)];
    const of = await bridge(a, b, { port: `,mode=${mode}` });
    expect(of.engine.ports.get(of.names[0])!.notes!().join('\n')).toContain(
      `XDP in ${mode} mode, copy mode, packets in several frames (multi-buffer)`,
    );
    const audit = await Audit.begin(of, a, b);
    // In one frame, one, two, five and six.
    for (const size of [56, 1750, 1751, 8900, 8972]) {
      expect(await a.run(`ping -c 3 -i 0.2 -W 1 -M do -s ${size} ${b.address}`)).toContain(' 0% packet loss');
    }
    expect(await b.run(`ping -6 -c 3 -i 0.2 -W 1 -M do -s 8952 ${a.address6}`)).toContain(' 0% packet loss');
    expect(rxOf(of, 0).extra_frames).toBe(3n * (0n + 0n + 1n + 4n + 5n) + 3n * 5n);
    await expectBalanced(of, audit, 18);
  });

  testAsRoot('iperf3 over TCP and UDP with packets of 9000 bytes, to the packet', async () => {
    const [a, b] = [wire(1), wire(2)];
    const of = await bridge(a, b, { port: `,mode=${mode}` });
    // As the port's notes say; checksums stay left to hardware.
    expect(of.engine.ports.get(of.names[0])!.notes!().join()).toContain('ethtool -K INTERFACE tso off gso off');
    for (const { space } of [a, b]) sh(`ip netns exec ${space} ethtool -K eth0 tso off gso off`);
    const audit = await Audit.begin(of, a, b);
    expect((await iperf(a, b)).bytes).toBeGreaterThan(1_000_000);
    expect((await iperf(a, b, '-u', '-b', '50M', '-l', '8900')).bytes).toBeGreaterThan(1_000_000);
    const { packets, extra_frames } = rxOf(of, 0);
    expect(extra_frames).toBeGreaterThan(packets); // most of them were large
    await expectBalanced(of, audit, 500);
  });
});

testAsRoot('With addresses rewritten only the first frame of a packet changes', async () => {
  const [a, b] = [wire(1), wire(2)];
  const engine = await openEngine({ frames: 8192 });
  const ports = [await engine.open(`xdp:${a.name}`), await engine.open(`xdp:${b.name}`)];
  const app = { module: 'l2fwd', options: { macUpdating: true } };
  const run = await engine.run([{ app, rx: { port: ports[0]!.name }, tx: [ports[1]!.name] }]);
  await b.run('ip link set eth0 promisc on');
  // The destination address is not b's any more: seen by tcpdump alone.
  const seen = b.run(['timeout', '10', 'tcpdump', '-i', 'eth0', '-c', '1', '-s', '0', '-xx', '-n', 'udp port 9']);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const arp = `ip -n ${a.space} neigh replace ${b.address} lladdr 02:00:00:00:00:99 dev eth0`;
  sh(arp);
  const datagram = `require('dgram').createSocket('udp4').send('x'.repeat(8000), 9, '${b.address}', () => process.exit())`;
  await a.run([process.execPath, '-e', datagram]);
  const bytes = [...(await seen).matchAll(/^\s+0x[0-9a-f]+:\s+(.*)$/gm)].flatMap(([, hex]) => hex!.replaceAll(' ', ''));
  const packet = Buffer.from(bytes.join(''), 'hex');
  expect(packet.subarray(0, 6).toString('hex')).toBe('020000000001');
  expect(packet.subarray(42).equals(Buffer.alloc(8000, 'x'))).toBe(true);
  expect((await run.stop()).ledger.errors).toEqual([]);
  await engine.close();
});

testAsRoot(
  'Between an MTU of 9000 and one of 1500 what fits passes, and what does not is counted as oversize',
  async () => {
    const [a, b] = [wire(1), wire(2, { mtu: 1500 })];
    const of = await bridge(a, b);
    expect(await b.run(`ping -c 3 -i 0.2 -W 1 -M do -s 1472 ${a.address}`)).toContain(' 0% packet loss');
    await a.run(`ping -c 2 -i 0.2 -W 1 -M do -s 8000 ${b.address}`).catch(() => undefined);
    const { packets, extra_frames, oversize } = txOf(of, 1);
    expect([extra_frames, oversize]).toEqual([8n, 10n]); // five frames each
    expect(packets).toBeGreaterThanOrEqual(5n);
    const { ledger } = await of.stop();
    expect(ledger.errors).toEqual([]);
  },
);

testAsRoot('An MTU raised under the program: longer packets come whole and are dropped, none is cut', async () => {
  const [a, b] = [wire(1), wire(2)];
  const of = await bridge(a, b);
  for (const { name, space } of [a, b]) {
    sh(`ip -n ${space} link set eth0 mtu 12000`);
    sh(`ip link set ${name} mtu 12000`);
  }
  await a.run(`ping -c 2 -i 0.2 -W 1 -M do -s 11000 ${b.address}`).catch(() => undefined);
  await waitFor('they are dropped', () => rxOf(of, 0).oversize === 14n); // seven frames each
  expect(await a.run(`ping -c 2 -i 0.2 -W 1 -M do -s 8972 ${b.address}`)).toContain(' 0% packet loss');
  const { ledger } = await of.stop();
  expect(ledger.errors).toEqual([]);
});

testAsRoot('Bursts that packets do not fit are refused before anything starts', async () => {
  const a = wire(1);
  const engine = await openEngine({ frames: 8192, burst: 4 });
  const port = await engine.open(`xdp:${a.name}`);
  const run = engine.run([{ app: { module: 'sink' }, rx: { port: port.name } }]);
  await expect(run).rejects.toMatchObject({
    code: 'BURST_TOO_SMALL',
    message: expect.stringMatching(/take 6 frames, and a burst has 4; open the engine with burst: 6 or more/),
  });
  expect(port.state).toBe('stopped');
  await engine.close();
});
