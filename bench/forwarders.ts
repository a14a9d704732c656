/** Who forwards between the wires: our engine, DPDK's testpmd, the kernel's bridge. One at a time: all want the same interfaces. */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { SystemError } from '../lib/errors.ts';
import type { PollMode } from '../lib/index.ts';
import type { Contestant } from './contestant.ts';
import { startEngine } from './linecard.ts';
import { type Placement, readText } from './machine.ts';
import { afXdpDevices, startTestpmd } from './testpmd.ts';
import type { Wires } from './wires.ts';

/** Where forwarders work. */
export interface Ground {
  readonly wires: Wires;
  readonly place: Placement;
  readonly burst: number;
  readonly hugepages: boolean;
}

/** Something that forwards all the time, from f0 to f1 and back. What it says of itself is only known to some. */
export type Forwarder = Pick<Contestant, 'close'> & Partial<Pick<Contestant, 'sample'>>;

/** Frames come in and leave as they are, so that hosts at both ends can speak to each other; or, for rates, like l2fwd does. */
export interface Manner {
  readonly macUpdating: boolean;
}

/** Opens our engine. */
export async function openEngine(
  { wires, place, burst }: Ground,
  { macUpdating }: Manner,
  mode: PollMode,
): Promise<Forwarder> {
  const { contestant } = await startEngine(
    {
      ports: [`xdp:${wires.ends.f0.name}`, `xdp:${wires.ends.f1.name}`],
      jobs: [
        [0, 1],
        [1, 0],
      ],
      app: { module: 'l2fwd', options: { macUpdating } },
      ...{ mode, burst, cpu: place.loop, mainCpu: place.main },
    },
    wires.inside('f'),
  );
  return contestant;
}

/** Opens testpmd over AF_XDP. */
export async function openPeer(
  { wires, place, burst, hugepages }: Ground,
  { macUpdating }: Manner,
): Promise<Forwarder> {
  const forwardMode = macUpdating ? 'mac' : 'io';
  const devices = afXdpDevices([wires.ends.f0.name, wires.ends.f1.name]);
  const { child, ask } = await startTestpmd({ burst, place, hugepages, devices, forwardMode }, wires.inside('f'));
  await ask('start');
  return {
    async close() {
      await child.close();
      return { faults: [] };
    },
  };
}

const BRIDGE = 'br0';

/**
 * Has the kernel bridge f0 and f1. Its work is done by whoever sends into the wire, unless `threaded`: then by a thread
 * of the kernel's on the cpu of the loop.
 */
export async function openBridge(
  { wires, place }: Ground,
  { threaded }: { readonly threaded: boolean },
): Promise<Forwarder> {
  const { f0, f1, b0 } = wires.ends;
  const ip = (...args: string[]) => wires.run('f', 'ip', ...args);
  const setThreaded = (on: 0 | 1) => wires.run('f', 'sh', '-c', `echo ${on} > /sys/class/net/${f0.name}/threaded`);
  const close = async () => {
    ip('link', 'del', BRIDGE);
    if (threaded) setThreaded(0);
    wires.run('f', 'ethtool', '-K', f0.name, 'gro', 'off');
    return { faults: [] };
  };
  ip('link', 'add', BRIDGE, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0', 'mcast_snooping', '0');
  try {
    wires.run('f', 'sysctl', '-qw', `net.ipv6.conf.${BRIDGE}.disable_ipv6=1`);
    for (const { name } of [f0, f1]) ip('link', 'set', name, 'master', BRIDGE);
    wires.run('f', 'bridge', 'fdb', 'add', b0.mac, 'dev', f1.name, 'master', 'static');
    ip('link', 'set', BRIDGE, 'up');
    if (threaded) {
      // Frames without socket buffers are only taken by a veth that polls (NAPI), which GRO makes it do.
      wires.run('f', 'ethtool', '-K', f0.name, 'gro', 'on');
      setThreaded(1);
      pinPolling(f0.name, place.loop);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}

/** Pins the kernel's threads that poll an interface, at the priority of this process (Documentation/networking/napi.rst, "Threaded NAPI"). */
function pinPolling(name: string, cpu: number): void {
  const pids = readdirSync('/proc').filter(
    (pid) => /^\d+$/.test(pid) && readText(`/proc/${pid}/comm`).startsWith(`napi/${name}`),
  );
  if (pids.length === 0) {
    throw new SystemError('WIRES', {
      what: 'the bridge',
      why: `no thread polls ${name}`,
      fix: 'use Linux 5.12 or later',
    });
  }
  for (const pid of pids) {
    execFileSync('taskset', ['-p', '-c', String(cpu), pid], { stdio: 'ignore' });
    // The others' threads have it from us.
    setPriority(Number(pid), getPriority());
  }
}
