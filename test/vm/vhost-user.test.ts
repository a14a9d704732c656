import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished } from 'vitest';
import { Command } from '../fakes/command.ts';
import { dropWire, makeWire } from '../fakes/netns.ts';
import { Guest } from './guest.ts';
import { testWithGuest } from './tests.ts';

/** The guest's address; the namespace at the wire's other end has another of the same network. */
const HERE = '10.77.0.9';
const HERE6 = 'fd77:0::9';

/** A guest whose network card is a vhost-user socket: QEMU 7.2 crashes by itself there with MSI-X, hence no vectors. */
const guestOn = (socket: string, more = '') =>
  Guest.boot({
    shared: true,
    args: [
      ...['-chardev', `socket,id=card,path=${socket}`, '-netdev', 'vhost-user,id=net,chardev=card'],
      ...['-device', `virtio-net-pci,netdev=net,vectors=0,romfile=,mac=52:54:00:00:00:09${more}`],
    ],
  });

describe('A virtual machine on a vhost-user port', () => {
  for (const [ring, more] of [
    ['split', ''],
    ['packed', ',packed=on'],
  ] as const) {
    testWithGuest(
      `pings and runs iperf3 through l2fwd to a network namespace, ${ring} rings`,
      async () => {
        const folder = mkdtempSync(join(tmpdir(), 'linecard-vhost-'));
        onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
        const wire = makeWire(1);
        onTestFinished(() => dropWire(wire));
        const socket = join(folder, 'guest.sock');
        const ports = [`vhost-user:${socket},packed=1`, `xdp:${wire.name}`];
        const l2fwd = new Command(['l2fwd', ...ports, '-T', '0'], { deadlineMs: 230_000 });
        await l2fwd.says(/MAC addresses kept/);

        const guest = await guestOn(socket, more);
        onTestFinished(() => guest.close());
        await guest.run('modprobe virtio_net && ip link set eth0 up');
        await guest.run(`ip addr add ${HERE}/24 dev eth0 && ip addr add ${HERE6}/64 dev eth0 nodad`);

        expect(await guest.run(`ping -c 50 -i 0.02 -W 5 ${wire.address}`)).toContain(' 0% packet loss');
        expect(await guest.run(`ping -c 20 -i 0.05 -s 1472 -M do -W 5 ${wire.address}`)).toContain(' 0% packet loss');
        expect(await guest.run(`ping -6 -c 20 -i 0.05 -W 5 ${wire.address6}`)).toContain(' 0% packet loss');

        const server = wire.run('iperf3 -s');
        server.catch(() => {}); // it is ended with its namespace
        const iperf = async (options: string) => {
          const report = JSON.parse(await guest.run(`iperf3 -J -c ${wire.address} -t 2 ${options}`)) as Report;
          return report.end;
        };
        await new Promise((resolve) => setTimeout(resolve, 500));
        expect((await iperf('')).sum_received!.bytes).toBeGreaterThan(1_000_000);
        expect((await iperf('-R')).sum_received!.bytes).toBeGreaterThan(1_000_000);
        const udp = (await iperf('-u -b 2M -l 1000')).sum!;
        expect(udp.packets).toBeGreaterThan(200);
        expect(udp.lost_packets).toBe(0);

        l2fwd.kill('SIGINT');
        const { code, stdout } = await l2fwd.ended;
        expect(stdout).toMatch(/balanced/);
        expect(code).toBe(0);
      },
      240_000,
    );
  }
});

interface Report {
  readonly end: {
    readonly sum_received?: { readonly bytes: number };
    readonly sum?: { readonly packets: number; readonly lost_packets: number };
  };
}
