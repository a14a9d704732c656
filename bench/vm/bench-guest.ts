/** A guest with four cards of a kind, for VFIO: two on one wire, and two whose wires end in this process. */
import { Guest } from '../../test/vm/guest.ts';
import { packageRoot } from '../root.ts';
import { Prober } from './prober.ts';

/** Kinds of cards: QEMU's name, and its options. */
export const MODELS = {
  'virtio-net': 'virtio-net-pci,disable-legacy=on,iommu_platform=on,packed=on',
  e1000e: 'e1000e',
} as const;
export type Model = keyof typeof MODELS;

/** Cards that send to each other. */
export const JOINED = ['0000:01:00.0', '0000:02:00.0'] as const;
/** Cards between which a probe passes. */
export const PASSED = ['0000:03:00.0', '0000:04:00.0'] as const;

/** Hugepages of 2 MiB, which testpmd is given. */
const HUGEPAGES = 96;

export interface BenchGuest {
  readonly guest: Guest;
  readonly prober: Prober;
  /** Runs the command line of linecard. */
  readonly linecard: (args: string) => string;
  close(): Promise<void>;
}

function cards(model: Model, prober: Prober): string[] {
  const wires = ['hubport,hubid=0', 'hubport,hubid=0', ...prober.netdevs];
  return wires.flatMap((wire, n) => [
    ...['-netdev', `${wire},id=n${n}`, '-device', `pcie-root-port,id=rp${n},chassis=${n},slot=${n}`],
    ...['-device', `${MODELS[model]},netdev=n${n},bus=rp${n},romfile=,mac=52:54:00:00:00:0${n + 1}`],
  ]);
}

/** Boots one, with one cpu: QEMU's own threads need the others. Throws as `Guest`. */
export async function bootBench(model: Model): Promise<BenchGuest> {
  const root = packageRoot();
  const linecard = (args: string) => `cd ${root} && node dist/lib/cli/main.js ${args}`;
  const prober = await Prober.open();
  try {
    const guest = await Guest.boot({
      machine: 'q35,kernel-irqchip=split',
      memory: 1024,
      args: ['-device', 'intel-iommu,intremap=on,caching-mode=on', ...cards(model, prober)],
      append: 'intel_iommu=on iommu=pt',
    });
    const close = async () => {
      await guest.close();
      prober.close();
    };
    try {
      await guest.run(`echo ${HUGEPAGES} > /proc/sys/vm/nr_hugepages`);
      for (const address of [...JOINED, ...PASSED]) await guest.run(linecard(`bind ${address} vfio-pci`));
      return { guest, prober, linecard, close };
    } catch (error) {
      await close();
      throw error;
    }
  } catch (error) {
    prober.close();
    throw error;
  }
}
