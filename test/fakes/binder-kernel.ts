/** A kernel that binds: what sysfs does when it is written to, in memory. */
import type { Netif, PciFunction } from '../../lib/pci/device.ts';
import type { BinderKernel, NetifUse } from '../../lib/pci/kernel.ts';

export interface FakeCard {
  address: string;
  class: number;
  driver: string;
  driverOverride: string;
  /** The driver that matches it by its ids. */
  readonly native: string;
  readonly mac: string;
  /** What the kernel calls its interface, and what it is called now. */
  readonly kernelNetif: string;
  netif: string;
  iommuGroup: number;
}

export class FakeBinderKernel implements BinderKernel {
  readonly cards = new Map<string, FakeCard>();
  readonly interfaces = new Map<string, { mac: string; up: boolean }>();
  readonly used = new Map<string, NetifUse>();
  readonly drivers = new Set(['e1000e', 'virtio-pci']);
  readonly loadable = new Set(['vfio-pci', 'uio_pci_generic']);
  /** What happened, in order. */
  readonly log: string[] = [];
  /** Writes that fail, by a part of their path, with an errno's name. */
  readonly failing = new Map<string, string>();
  /** Drivers that refuse every function. */
  readonly refusing = new Set<string>();
  /** Functions that an engine has open. */
  readonly open = new Set<string>();
  noiommu: 'absent' | 'off' | 'on' = 'absent';

  add(address: string, card: Partial<FakeCard> = {}): FakeCard {
    const made = {
      ...{ address, class: 0x020000, driver: 'e1000e', driverOverride: '', native: 'e1000e', iommuGroup: 1 },
      ...{ mac: '52:54:00:00:00:01', netif: `eth${this.cards.size}`, kernelNetif: `eth${this.cards.size}` },
      ...card,
    };
    this.cards.set(address, made);
    if (made.driver === made.native && made.driver !== '')
      this.interfaces.set(made.netif, { mac: made.mac, up: false });
    return made;
  }

  read(address: string): PciFunction | undefined {
    const card = this.cards.get(address);
    if (card === undefined) return undefined;
    const interface_ = this.interfaces.get(card.netif);
    const netifs: Netif[] = interface_ === undefined ? [] : [{ name: card.netif, ...interface_ }];
    const { driver, driverOverride, iommuGroup } = card;
    return {
      ...{ address, domain: '0000', vendor: 0x8086, device: 0x10d3, subsystemVendor: 0, subsystemDevice: 0 },
      ...{ class: card.class, revision: 0, numaNode: -1, iommuGroup, driver, driverOverride, bars: [], netifs },
    };
  }

  readAll(): PciFunction[] {
    return [...this.cards.keys()].map((address) => this.read(address)!);
  }

  write(path: string, text: string): void {
    this.log.push(`${path} ${text.trim()}`);
    for (const [part, code] of this.failing) {
      if (path.includes(part)) throw Object.assign(new Error(`${code}: write`), { code });
    }
    if (path === 'module/vfio/parameters/enable_unsafe_noiommu_mode') this.noiommu = 'on';
    else if (path === 'bus/pci/drivers_probe') this.probe(this.cards.get(text)!);
    else {
      const [, address, file] = /devices\/([^/]+)\/(.*)/.exec(path)!;
      const card = this.cards.get(address!)!;
      if (file === 'driver_override') card.driverOverride = text.trim();
      else if (file === 'driver/unbind') {
        card.driver = '';
        this.interfaces.delete(card.netif);
      }
    }
  }

  private probe(card: FakeCard): void {
    const driver = card.driverOverride === '' ? card.native : card.driverOverride;
    if (!this.drivers.has(driver) || this.refusing.has(driver)) return;
    card.driver = driver;
    if (driver !== card.native) return;
    card.netif = card.kernelNetif;
    this.interfaces.set(card.netif, { mac: card.mac, up: false });
  }

  exists(path: string): boolean {
    if (path.startsWith('module/vfio')) return this.noiommu !== 'absent';
    return this.drivers.has(path.replace('bus/pci/drivers/', ''));
  }

  inUse(address: string): boolean {
    return this.open.has(address);
  }

  loadModule(name: string, options?: string): string | undefined {
    this.log.push(`modprobe ${name}${options === undefined ? '' : ` ${options}`}`);
    if (!this.loadable.has(name)) return `modprobe: FATAL: Module ${name} not found.`;
    this.drivers.add(name);
    return undefined;
  }

  async uses(names: readonly string[]): Promise<ReadonlyMap<string, NetifUse>> {
    return new Map([...this.used].filter(([name]) => names.includes(name)));
  }

  setNetif(now: string, { name, mac, up }: Netif): void {
    this.log.push(`set ${now} ${name} ${mac} ${up ? 'up' : 'down'}`);
    this.rename(now, name);
    this.interfaces.set(name, { mac, up });
  }

  /** Until the driver makes it again: then it has the kernel's name. */
  rename(now: string, name: string): void {
    const card = [...this.cards.values()].find(({ netif }) => netif === now);
    const interface_ = this.interfaces.get(now);
    if (card === undefined || interface_ === undefined) return;
    this.interfaces.delete(now);
    this.interfaces.set(name, interface_);
    card.netif = name;
  }
}
