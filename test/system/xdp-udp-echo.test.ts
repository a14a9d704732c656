import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { openEngine } from 'linecard';
import { expect } from 'vitest';
import { dropWire, makeWire, sh, testAsRoot, type Wire, waitFor } from '../fakes/netns.ts';

/** Sends `text` and prints what comes back, by a shell with nothing but UDP sockets. */
const echo = (from: Wire, address: string, port: number, text: string): Promise<string> =>
  from.run([
    'bash',
    '-c',
    `exec 3<>/dev/udp/${address}/${port}; echo ${text} >&3; timeout 2 dd bs=1500 count=1 status=none <&3`,
  ]);

for (const offload of [false, true]) {
  testAsRoot(
    `udp-echo is a host beside the kernel's own${offload ? ', also for senders that leave checksums to hardware' : ''}`,
    async () => {
      const wire = makeWire(1, { offload });
      try {
        sh(`ip addr add 10.77.0.50/24 dev ${wire.name}`);
        const engine = await openEngine({ frames: 8192 });
        const port = await engine.open(`xdp:${wire.name},match=host/10.77.0.100+host/fd77:0::100`);
        const app = { module: 'udp-echo', options: { addresses: ['10.77.0.100', 'fd77:0::100'], port: 7000 } };
        const run = await engine.run([{ app, rx: { port: port.name }, tx: [port.name] }]);

        expect(await wire.run('ping -c 3 -i 0.2 -W 1 10.77.0.100')).toContain(' 0% packet loss');
        expect(await wire.run('ping -6 -c 3 -i 0.2 -W 1 fd77:0::100')).toContain(' 0% packet loss');
        expect(await echo(wire, '10.77.0.100', 7000, 'hello')).toBe('hello\n');
        expect(await echo(wire, 'fd77:0::100', 7000, 'hello6')).toBe('hello6\n');

        // All else on the interface is the kernel's: ping, and a socket of this process.
        const taken = run.stats().ports[port.name]!.rx.packets;
        expect(await wire.run('ping -c 3 -i 0.2 -W 1 10.77.0.50')).toContain(' 0% packet loss');
        const socket = createSocket('udp4').on('message', (data, { port: to, address }) =>
          socket.send(data, to, address),
        );
        socket.bind(7000, '10.77.0.50');
        await once(socket, 'listening');
        expect(await echo(wire, '10.77.0.50', 7000, 'kernel')).toBe('kernel\n');
        socket.close();
        expect(run.stats().ports[port.name]!.rx.packets).toBe(taken);

        await waitFor('all is counted', () => run.stats().jobs[0]!.counters.udp === 2n);
        const { counters } = run.stats().jobs[0]!;
        expect(counters).toMatchObject({ ping: 6n, udp: 2n });
        expect([counters.arp! > 0n, counters.neighbor! > 0n]).toEqual([true, true]);

        // Who has closed his socket before the answer comes: his kernel says so, and that is no packet that went wrong.
        await wire.run(['bash', '-c', 'for i in $(seq 20); do echo x >/dev/udp/10.77.0.100/7000; done']);
        await waitFor('all is answered', () => run.stats().jobs[0]!.counters.udp === 22n);
        await waitFor('the kernel complains', () => run.stats().jobs[0]!.counters.icmp_error! > 0n);
        expect(run.stats().jobs[0]!.frames).toMatchObject({ dropped_filter: 0n, dropped_malformed: 0n });
        const { ledger, errors } = await run.stop();
        expect([ledger.errors, errors]).toEqual([[], []]);
        await engine.close();
      } finally {
        dropWire(wire);
      }
    },
  );
}
