/** The command line on network interfaces: what a user sees and gets without any option, and what is left behind. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished } from 'vitest';
import { iperf } from '../fakes/bridge.ts';
import { Command, type Ended, expectSuccess, linecard, objectsOf, summaryOf } from '../fakes/command.ts';
import { dropWire, makeWire, sh, testAsRoot, type Wire, type WireOptions, waitFor } from '../fakes/netns.ts';

/** Two wires, gone after the test. */
function wires(options: WireOptions = {}): [Wire, Wire] {
  const pair: [Wire, Wire] = [makeWire(1, options), makeWire(2, options)];
  onTestFinished(() => {
    for (const wire of pair) dropWire(wire);
  });
  return pair;
}

const link = (wire: Wire): string => sh(`ip -d link show dev ${wire.name}`);

/** Runs l2fwd between two wires; `body` happens meanwhile. */
async function forwarding(args: readonly string[], body: (command: Command) => Promise<void>): Promise<Ended> {
  const command = new Command(['l2fwd', ...args, '-T', '0']);
  await command.says(/XDP in/);
  await sleep(200);
  await body(command);
  command.kill('SIGINT');
  return command.ended;
}

const noLoss = ' 0% packet loss';

describe('l2fwd between two network namespaces, nothing else said', () => {
  testAsRoot('carries ping, full-size frames, ping -6, iperf3 over TCP and UDP, with the ledger balanced', async () => {
    const [a, b] = wires();
    expect(await a.run('ethtool -k eth0')).toMatch(/tx-checksum-ip-generic: on/);
    const ended = await forwarding([`xdp:${a.name}`, `xdp:${b.name}`], async () => {
      for (const size of [0, 56, 1472])
        expect(await a.run(`ping -c 3 -i 0.2 -W 1 -M do -s ${size} ${b.address}`)).toContain(noLoss);
      for (const size of [56, 1452])
        expect(await b.run(`ping -6 -c 3 -i 0.2 -W 1 -M do -s ${size} ${a.address6}`)).toContain(noLoss);
      expect((await iperf(a, b)).bytes).toBeGreaterThan(1_000_000);
      expect((await iperf(a, b, '-u', '-b', '20M', '-l', '1400')).bytes).toBeGreaterThan(1_000_000);
    });
    expectSuccess(ended);
    expect(ended.stdout).toContain('Dropped: nothing');
  });

  testAsRoot('says what becomes of addresses and checksums, and leaves the interface as it was', async () => {
    const [a, b] = wires();
    const before = [link(a), link(b)];
    const ended = await forwarding([`xdp:${a.name}`, `xdp:${b.name}`], async ({ stdout }) => {
      const text = stdout.replaceAll(/\n {2}/g, ' ');
      expect(text).toContain(`MAC addresses kept: hosts are behind xdp:${a.name} and xdp:${b.name} (--mac-updating`);
      expect(text).toContain(`xdp:${a.name} and xdp:${b.name}: promiscuous until the end`);
      expect(text).toContain(`${a.name}: XDP in native mode, copy mode (its driver refuses zero-copy: EOPNOTSUPP)`);
      expect(text).toContain(`${b.name}: TCP and UDP checksums that senders leave to hardware are filled in`);
      for (const line of stdout.split('\n')) expect(line.length).toBeLessThan(80);
      expect(link(a)).toContain('promiscuity 1');
    });
    expectSuccess(ended);
    expect([link(a), link(b)]).toEqual(before);
    expect(link(a)).toContain('promiscuity 0');
  });

  testAsRoot('with --mac-updating rewrites addresses as DPDK’s does: hosts do not find each other', async () => {
    const [a, b] = wires();
    const ended = await forwarding(['--mac-updating', `xdp:${a.name}`, `xdp:${b.name}`], async ({ stdout }) => {
      expect(stdout).toMatch(/^MAC addresses rewritten$/m);
      expect(stdout).not.toContain('promiscuous');
      expect(link(a)).toContain('promiscuity 0');
      await expect(a.run(`ping -c 1 -W 1 ${b.address}`)).rejects.toThrow('100% packet loss');
    });
    expectSuccess(ended);
  });

  testAsRoot('tells programs the same', async () => {
    const [a, b] = wires();
    const ended = await linecard(['l2fwd', '-j', '-T', '0', '--time', '0.5', `xdp:${a.name}`, `xdp:${b.name}`]);
    const { events, ports } = summaryOf(ended);
    const notes = events.filter(({ event }: { event: string }) => event === 'note');
    expect(notes[0]).toMatchObject({ subject: '', text: expect.stringContaining('MAC addresses kept') });
    expect(notes).toContainEqual({
      event: 'note',
      subject: `xdp:${a.name}`,
      text: `${a.name}: TCP and UDP checksums that senders leave to hardware are filled in`,
    });
    expect(ports[0].kernel).toMatchObject({ rx_dropped: 0, tx_invalid_descs: 0 });
    expect(objectsOf(ended)).toHaveLength(1);
  });
});

testAsRoot('With checksum=keep TCP does not come through, and the port says what to do at the other end', async () => {
  const [a, b] = wires();
  const names = [a, b].map(({ name }) => `xdp:${name},checksum=keep`);
  const ended = await forwarding(names, async ({ stdout }) => {
    expect(stdout.replaceAll(/\n {2}/g, ' ')).toContain('or at the other end: ethtool -K INTERFACE tx off');
    const connect = ['bash', '-c', `timeout 1 bash -c 'exec 3<>/dev/tcp/${b.address}/9' 2>&1; echo $?`];
    // Refused by the other end's kernel is an answer; none at all is what checksums do.
    expect((await a.run(connect)).trim()).toBe('124');
    for (const wire of [a, b]) await wire.run('ethtool -K eth0 tx off');
    expect(await a.run(connect)).toContain('Connection refused');
  });
  expectSuccess(ended);
});

testAsRoot(
  'One queue of two: the missing share is said in words of the command line, by plan and status too',
  async () => {
    const [a, b] = wires({ queues: 2 });
    const share = new RegExp(
      `${a.name} has 2 rx queues, 1 opened: about 50 % of its traffic will not arrive; open all \\(-q 2\\), or before the start: ethtool -L ${a.name} rx 1, after ethtool -L INTERFACE tx 1 at its other end`,
    );
    const flat = (text: string) => text.replaceAll(/\n {2}/g, ' ');
    const ports = [`xdp:${a.name}`, `xdp:${b.name}`];
    expectSuccess(
      await forwarding(ports, async ({ stdout }) => {
        expect(flat(stdout)).toMatch(share);
      }),
    );
    expect(flat((await linecard(['plan', ...ports])).stdout)).toMatch(share);
    expect(flat((await linecard(['status', ...ports])).stdout)).toMatch(share);
    expect(flat((await linecard(['plan', '-q', '2', ...ports])).stdout)).not.toContain('will not arrive');
    // What the note says works: native mode, and all of the traffic.
    for (const wire of [a, b]) {
      await wire.run('ethtool -L eth0 tx 1');
      sh(`ethtool -L ${wire.name} rx 1`);
    }
    expectSuccess(
      await forwarding(ports, async ({ stdout }) => {
        expect(stdout).toContain(`${a.name}: XDP in native mode`);
        expect(stdout).not.toContain('will not arrive');
        for (let i = 0; i < 4; i++) expect((await iperf(a, b, '-P', '4')).bytes).toBeGreaterThan(100_000);
      }),
    );
  },
);

testAsRoot(
  'A veth with fewer rx queues than its other end has tx queues falls back to skb mode, and says why',
  async () => {
    const [a, b] = wires({ queues: 2 });
    sh(`ethtool -L ${a.name} rx 1`);
    const ended = await forwarding([`xdp:${a.name}`, `xdp:${b.name}`, '-q', '1'], async ({ stdout }) => {
      const text = stdout.replaceAll(/\n {2}/g, ' ');
      expect(text).toContain('XDP in skb mode (it has fewer rx queues than its peer has tx queues), copy mode');
      expect(text).toContain('at the other end: ethtool -K INTERFACE tso off gso off');
    });
    expectSuccess(ended);
  },
);

testAsRoot('In skb mode, TCP that comes in pieces too large for a frame is told of when it happens', async () => {
  const [a, b] = wires();
  const ended = await forwarding([`xdp:${a.name},mode=skb`, `xdp:${b.name},mode=skb`], async (command) => {
    await iperf(a, b).catch(() => undefined);
    await waitFor('it is told', () => command.stderr.includes('[XDP_TOO_LARGE]'));
    expect(command.stderr).toContain(`at the other end of ${a.name}: ethtool -K INTERFACE tso off gso off`);
    for (const wire of [a, b]) await wire.run('ethtool -K eth0 tso off gso off');
    expect((await iperf(a, b)).bytes).toBeGreaterThan(1_000_000);
  });
  // Something went wrong, and it was said what.
  expect([ended.code, ended.stdout]).toEqual([1, expect.stringContaining('Ledger: balanced')]);
});

describe('status', () => {
  testAsRoot('shows interfaces, and the program of an engine that runs, with its owner', async () => {
    const [a, b] = wires({ queues: 2, mtu: 1400 });
    sh(`ip addr add 10.77.9.1/24 dev ${a.name}`);
    const rowOf = (text: string) => {
      const lines = text.split('\n');
      const at = lines.findIndex((line) => new RegExp(`^  ${a.name} +up `).test(line));
      return lines.slice(at, at + 3);
    };
    const idle = rowOf((await linecard(['status'])).stdout);
    expect(idle[0]).toMatch(/ +up +1400 +veth +2 +none$/);
    expect(idle[1]).toMatch(/^ {4}MAC [0-9a-f:]{17}, 10\.77\.9\.1\/24/);
    const ended = await forwarding([`xdp:${a.name}`, `xdp:${b.name}`], async ({ child }) => {
      const [row, , program] = rowOf((await linecard(['status'])).stdout);
      expect(row).toMatch(/ native$/);
      expect(program).toMatch(new RegExp(`^    XDP program \\d+: process ${child.pid}, .+$`));
      const { devices } = JSON.parse((await linecard(['status', '-j'])).stdout);
      const device = devices.find(({ id }: { id: string }) => id.endsWith(`/${a.name}`));
      expect(device.details).toMatchObject({
        ...{ driver: 'veth', kind: 'veth', state: 'up', mtu: 1400, rxQueues: 2, txQueues: 2, defaultRoute: false },
        ...{ addresses: ['10.77.9.1/24'], xdp: 'native', xdpOwner: expect.stringMatching(`^process ${child.pid}, `) },
      });
    });
    expectSuccess(ended);
    await waitFor('the program has gone', () => !link(a).includes('prog/xdp'));
  });
});
