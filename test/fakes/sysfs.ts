/** A sysfs of the tests' own, with what the kernel puts there for PCI functions and drivers. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A function to put there. */
export interface FakeFunction {
  readonly vendor?: string;
  readonly device?: string;
  readonly class?: string;
  readonly driver?: string;
  readonly group?: number;
  readonly node?: number;
  /** Lines of `resource`. */
  readonly resource?: readonly string[];
  readonly netif?: { readonly name: string; readonly mac?: string; readonly flags?: string; readonly below?: string };
}

export class FakeSysfs {
  readonly root: string;

  constructor() {
    this.root = mkdtempSync(join(tmpdir(), 'linecard-sysfs-'));
    mkdirSync(join(this.root, 'bus/pci/devices'), { recursive: true });
    onTestFinished(() => rmSync(this.root, { recursive: true, force: true }));
  }

  write(path: string, content: string): void {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${content}\n`);
  }

  link(path: string, target: string): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    symlinkSync(target, join(this.root, path));
  }

  unlink(path: string): void {
    unlinkSync(join(this.root, path));
  }

  add(address: string, made: FakeFunction = {}): void {
    const at = `devices/pci0000:00/${address}`;
    const values = {
      vendor: made.vendor ?? '0x1af4',
      device: made.device ?? '0x1041',
      subsystem_vendor: '0x1af4',
      subsystem_device: '0x1100',
      class: made.class ?? '0x020000',
      revision: '0x01',
      numa_node: String(made.node ?? -1),
      driver_override: '(null)',
      resource: (made.resource ?? []).join('\n'),
    };
    for (const [name, value] of Object.entries(values)) this.write(`${at}/${name}`, value);
    if (made.driver !== undefined) this.link(`${at}/driver`, `../../../bus/pci/drivers/${made.driver}`);
    if (made.group !== undefined) this.link(`${at}/iommu_group`, `../../../kernel/iommu_groups/${made.group}`);
    if (made.netif !== undefined) {
      const { name, mac = '52:54:00:00:00:01', flags = '0x1002', below } = made.netif;
      const place = `${at}/${below === undefined ? '' : `${below}/`}net/${name}`;
      this.write(`${place}/address`, mac);
      this.write(`${place}/flags`, flags);
    }
    this.link(`bus/pci/devices/${address}`, `../../../${at}`);
  }

  remove(address: string): void {
    this.unlink(`bus/pci/devices/${address}`);
    rmSync(join(this.root, 'devices/pci0000:00', address), { recursive: true });
  }
}
