import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  afXdpDevices,
  joinedDevices,
  NULL_DEVICES,
  parsePortStats,
  startTestpmd,
  testpmdArguments,
} from '../../bench/testpmd.ts';

// `show port stats all` of DPDK 22.11, as it comes through a pipe.
const block = (port: number, received: number, sent: number) => `
  ######################## NIC statistics for port ${port}  ########################
  RX-packets: ${received}   RX-missed: 0          RX-bytes:  0
  RX-errors: 0
  RX-nombuf:  0         
  TX-packets: ${sent}   TX-errors: 0          TX-bytes:  0

  Throughput (since last show)
  Rx-pps:     21556402          Rx-bps:            0
  Tx-pps:     21556402          Tx-bps:            0
  ############################################################################
`;

describe('parsePortStats', () => {
  test('received packets are summed over the ports', () => {
    const text = `show port stats all\r\n${block(0, 16728672, 16431168)}${block(1, 16779552, 16431424)}testpmd> `;
    expect(parsePortStats(text)).toBe(16728672 + 16779552);
  });

  test('the totals of "show fwd stats" are not taken for them', () => {
    const forward =
      '---------------------- Forward statistics for port 0  ----------------------\n  RX-packets: 16432288       RX-dropped: 0\n';
    expect(() => parsePortStats(forward)).toThrow(expect.objectContaining({ code: 'TESTPMD_OUTPUT' }));
  });

  test('something else is an error that quotes it', () => {
    expect(() => parsePortStats('Bad arguments\n')).toThrow(/Bad arguments/);
  });
});

describe('testpmdArguments', () => {
  const common = { place: { main: 2, loop: 5 }, devices: NULL_DEVICES, forwardMode: 'mac' } as const;

  test('the forwarding core is the loop’s cpu, the prompt’s is another', () => {
    const args = testpmdArguments({ ...common, burst: 64, hugepages: true });
    expect(args[args.indexOf('--lcores') + 1]).toBe('0@2,1@5');
    expect(args).toContain('--burst=64');
    expect(args).toContain('--in-memory');
    expect(args).not.toContain('--no-huge');
  });

  test('without hugepages it is not asked to keep everything in memory, which excludes --no-huge', () => {
    const args = testpmdArguments({ ...common, burst: 32, hugepages: false });
    expect(args).toContain('--no-huge');
    expect(args).not.toContain('--in-memory');
  });

  test('options of EAL come before the separator, those of testpmd after it', () => {
    const args = testpmdArguments({ ...common, burst: 32, hugepages: true });
    const separator = args.indexOf('--');
    expect(args.lastIndexOf('--vdev')).toBeLessThan(separator);
    expect(args.indexOf('--forward-mode=mac')).toBeGreaterThan(separator);
  });

  test('both ends of a socket: the back end is there from the start, the front end is attached', () => {
    const { attached, devices } = joinedDevices('/s', true, 256);
    expect(devices).toEqual(['net_vhost0,iface=/s']);
    expect(attached).toBe('net_virtio_user0,path=/s,queue_size=256,packed_vq=1');
    const args = testpmdArguments({ ...common, burst: 32, hugepages: true, devices, attached, topology: 'loop' });
    expect(args.join(' ')).not.toContain('net_virtio_user0');
    expect(args).toContain('--port-topology=loop');
  });

  test('over AF_XDP every interface is a device, which the kernel does not poll for us', () => {
    const devices = afXdpDevices(['x0', 'x1']);
    const args = testpmdArguments({ ...common, burst: 32, hugepages: true, devices, forwardMode: 'io' });
    const named = args.filter((_, i) => args[i - 1] === '--vdev');
    expect(named).toEqual(['net_af_xdp0,iface=x0,busy_budget=0', 'net_af_xdp1,iface=x1,busy_budget=0']);
    expect(args).toContain('--forward-mode=io');
  });
});

describe('startTestpmd', () => {
  /** A program that says `greeting`, answers each line with `answer`, and is the only testpmd there is. */
  function pretend(greeting: string, answer: string): { pid(): number } {
    const folder = mkdtempSync(join(tmpdir(), 'linecard-testpmd-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const body = `echo $$ > ${folder}/pid; printf '${greeting}'; while read -r line; do printf '${answer}'; done; exec sleep 20`;
    writeFileSync(join(folder, 'dpdk-testpmd'), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    vi.stubEnv('PATH', `${folder}:${process.env.PATH}`);
    onTestFinished(() => void vi.unstubAllEnvs());
    return { pid: () => Number(readFileSync(join(folder, 'pid'), 'utf8')) };
  }
  const options = { place: { main: 0, loop: 0 }, burst: 32, hugepages: true, devices: [], forwardMode: 'io' } as const;
  const alive = (pid: number) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };

  test('a prompt is one though an event is told of behind it', async () => {
    const event = '\\nPort 0: link state change event\\n';
    pretend(`testpmd> ${event}`, `done\\ntestpmd> ${event}${event}`);
    const { child, ask } = await startTestpmd(options);
    expect(await ask('start')).toContain('done');
    await child.close(100);
  });

  test('a prompt is one though an error is told of in the middle of it', async () => {
    pretend('testpmdError during enabling promiscuous mode: ignore\\n> ', 'done\\ntestpmd> ');
    const { child, ask } = await startTestpmd(options);
    expect(await ask('start')).toContain('done');
    await child.close(100);
  });

  test('one that does not answer is an error, and is ended', async () => {
    const { pid } = pretend('testpmd> ', 'never');
    await expect(startTestpmd({ ...options, attached: 'net_virtio_user0' })).rejects.toMatchObject({
      code: 'CHILD_SILENT',
    });
    expect(alive(pid())).toBe(false);
  });
});
