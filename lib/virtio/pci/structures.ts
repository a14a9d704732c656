/**
 * Where a virtio PCI device has its structures (virtio 1.2 §4.1.4): the first of each kind that can be used. What its
 * capabilities say is checked at full width before anything is accessed. Control half.
 */
import { DeviceError } from '../../errors.ts';
import { CAPABILITY, type Capability, type ConfigSpace, capabilities } from '../../pci/config-space.ts';
import type { BarWindow, PciDevio } from '../../pci/devio.ts';
import { ConfigWindow, Region } from './region.ts';
import { CAP, CAP_BYTES, CFG_TYPE, COMMON_BYTES, LONG_CAP_BYTES, MSIX_CAP } from './regs.ts';

/** A part of a BAR. */
export interface Extent {
  readonly name: string;
  readonly bar: number;
  readonly offset: number;
  readonly bytes: number;
}

/** Where queues are notified, §4.1.4.4. */
export interface NotifyStructure {
  readonly bar: number;
  /** In the BAR. */
  readonly offset: number;
  readonly bytes: number;
  readonly multiplier: number;
  /** Arena offset of the BAR. */
  readonly arena: number;
  readonly registers: Region;
}

/** The structures of a device. */
export interface Structures {
  readonly common: Region;
  readonly notify: NotifyStructure;
  /** Arena offset of the ISR status, or 0 when there is none that a worker could read. */
  readonly isr: number;
  /** The device configuration, if there is one. */
  readonly device: Region | undefined;
  /** What nobody may take for a notification register: the other structures, and what belongs to MSI-X. */
  readonly taken: readonly Extent[];
}

/** A capability that may be used: its fields, copied once. */
interface Candidate {
  readonly at: number;
  readonly type: number;
  readonly bar: number;
  readonly offset: number;
  readonly length: number;
  readonly multiplier: number;
}

/** What a structure needs: bytes in all, alignment, and whether workers access it (then it must be in the arena). */
interface Need {
  readonly type: number;
  readonly name: string;
  readonly least: number;
  readonly align: number;
  readonly mapped: boolean;
}

const NEEDS = {
  common: { type: CFG_TYPE.common, name: 'common configuration', least: COMMON_BYTES.least, align: 4, mapped: false },
  notify: { type: CFG_TYPE.notify, name: 'notification structure', least: 2, align: 2, mapped: true },
  isr: { type: CFG_TYPE.isr, name: 'ISR status', least: 1, align: 1, mapped: true },
  device: { type: CFG_TYPE.device, name: 'device configuration', least: 1, align: 4, mapped: false },
} as const satisfies Record<string, Need>;

const hex = (n: number): string => `0x${n.toString(16)}`;
/** BAR numbers above are reserved, §4.1.4. */
const LAST_BAR = 5;
/** Structures that are larger are used as far as is needed (§4.1.4.1). */
const MOST_BYTES = 4096;

function refuse(
  code: string,
  what: string,
  why: string,
  fix = 'the device is broken or hostile: do not use it',
): never {
  throw new DeviceError(code, { what, why, fix });
}

/** Reads one vendor capability; undefined when it is to be ignored: reserved, or shorter than its kind. */
function readCapability(config: ConfigSpace, { offset: at }: Capability): Candidate | undefined {
  const type = config.read(at + CAP.cfgType, 8);
  if (!(Object.values(CFG_TYPE) as number[]).includes(type)) return undefined;
  const long = type === CFG_TYPE.notify || type === CFG_TYPE.pciCfg;
  const bytes = long ? LONG_CAP_BYTES : CAP_BYTES;
  // Conventional configuration space ends at 256.
  if (config.read(at + CAP.len, 8) < bytes || at + bytes > Math.min(config.size, 256)) return undefined;
  const bar = config.read(at + CAP.bar, 8);
  if (bar > LAST_BAR && type !== CFG_TYPE.pciCfg) return undefined;
  const u32 = (offset: number) => config.read(at + offset, 32) >>> 0;
  const multiplier = type === CFG_TYPE.notify ? u32(CAP.notifyOffMultiplier) : 0;
  return { at, type, bar, offset: u32(CAP.offset), length: u32(CAP.length), multiplier };
}

/** The table of MSI-X vectors and their pending bits: nobody's but the kernel's. */
function msixExtents(config: ConfigSpace, found: readonly Capability[]): Extent[] {
  const cap = found.find(({ id, offset }) => id === CAPABILITY.msix && offset + MSIX_CAP.bytes <= config.size);
  if (cap === undefined) return [];
  const vectors = (config.read(cap.offset + MSIX_CAP.control, 16) & MSIX_CAP.sizeMask) + 1;
  const part = (name: string, at: number, bytes: number): Extent => {
    const word = config.read(cap.offset + at, 32) >>> 0;
    const bar = word & MSIX_CAP.barMask;
    return { name, bar, offset: word - bar, bytes };
  };
  return [
    part('the table of MSI-X vectors', MSIX_CAP.table, vectors * MSIX_CAP.entryBytes),
    part('pending bits of MSI-X', MSIX_CAP.pending, Math.ceil(vectors / 64) * 8),
  ];
}

/** What two parts of BARs have in common, as a sentence; or undefined. */
export function overlap(a: Extent, others: readonly Extent[]): string | undefined {
  const b = others.find(
    (other) => other.bar === a.bar && a.offset < other.offset + other.bytes && other.offset < a.offset + a.bytes,
  );
  return b === undefined ? undefined : `${a.name}, at ${hex(a.offset)} of BAR ${a.bar}, lies in ${b.name}`;
}

/** Finds what it is made for. */
class Search {
  private readonly devio: PciDevio;
  private readonly candidates: readonly Candidate[];
  private readonly bars = new Map<number, BarWindow | string>();
  readonly taken: Extent[];

  constructor(devio: PciDevio) {
    this.devio = devio;
    const found = capabilities(devio.config);
    this.candidates = found
      .filter(({ id }) => id === CAPABILITY.vendor)
      .flatMap((capability) => readCapability(devio.config, capability) ?? []);
    this.taken = msixExtents(devio.config, found);
  }

  get legacy(): boolean {
    return this.candidates.length === 0;
  }

  /** BAR `number`, or why there is none that could be mapped. */
  bar(number: number): BarWindow | string {
    const known = this.bars.get(number);
    if (known !== undefined) return known;
    const window = this.map(number);
    this.bars.set(number, window);
    return window;
  }

  private map(number: number): BarWindow | string {
    try {
      return this.devio.bar(number);
    } catch (error) {
      if ((error as { code?: string }).code !== 'NO_BAR') throw error;
      return (error as Error).message;
    }
  }

  /** How `candidate` can be accessed, or why it cannot be. */
  private open(candidate: Candidate, need: Need): Region | string {
    const { bar, offset, length } = candidate;
    if (length < need.least) return `it has ${length} bytes, and ${need.least} are needed`;
    if (offset % need.align !== 0) return `its offset ${hex(offset)} is no multiple of ${need.align}`;
    const window = this.bar(bar);
    const bytes = need.mapped ? length : Math.min(length, MOST_BYTES);
    if (typeof window !== 'string') {
      // Both are 32 bits wide, and their sum is exact.
      if (offset + length > window.bytes) return `it ends at ${hex(offset + length)} of BAR ${bar}, of ${window.bytes}`;
      return new Region(window.registers, offset, bytes);
    }
    const by = this.candidates.find(({ type }) => type === CFG_TYPE.pciCfg);
    if (need.mapped || by === undefined || offset + length > 2 ** 32) return window;
    return new Region(new ConfigWindow(this.devio.config, by.at, bar), offset, bytes);
  }

  /** The first of its kind that can be used; `use` of its bytes are taken. Undefined when there is none. */
  first(need: Need, use: (bytes: number) => number): { region: Region; candidate: Candidate } | undefined {
    return this.try(need, use, []);
  }

  /** As `first`. Throws `NO_STRUCTURE` when there is none. */
  require(need: Need, use: (bytes: number) => number): { region: Region; candidate: Candidate } {
    const reasons: string[] = [];
    const found = this.try(need, use, reasons);
    if (found !== undefined) return found;
    const why = reasons.length === 0 ? 'it has none' : reasons.join('; ');
    return refuse('NO_STRUCTURE', `${this.devio.address}: ${need.name}`, why);
  }

  private try(need: Need, use: (bytes: number) => number, reasons: string[]) {
    for (const candidate of this.candidates.filter(({ type }) => type === need.type)) {
      const region = this.open(candidate, need);
      if (typeof region !== 'string') {
        const { bar, offset } = candidate;
        const extent = { name: `the ${need.name}`, bar, offset, bytes: use(region.bytes) };
        const shared = overlap(extent, this.taken);
        if (shared === undefined) {
          if (extent.bytes > 0) this.taken.push(extent);
          return { region, candidate };
        }
        reasons.push(shared);
      } else reasons.push(`capability at ${hex(candidate.at)}: ${region}`);
    }
    return undefined;
  }
}

/**
 * Finds the structures of the device. `configBytes`: what of its device configuration is of interest. Throws
 * `LEGACY_DEVICE`, `NO_STRUCTURE`, `BAD_CAPABILITIES`, and what mapping a BAR throws.
 */
export function findStructures(devio: PciDevio, configBytes: number): Structures {
  const search = new Search(devio);
  if (search.legacy) {
    const why = 'it has no virtio capabilities: it is of before virtio 1.0, or made to be (disable-modern=on)';
    refuse('LEGACY_DEVICE', devio.address, why, 'use a device of virtio 1.0 or later (disable-modern=off)');
  }
  const common = search.require(NEEDS.common, (bytes) => Math.min(bytes, COMMON_BYTES.reset)).region;
  const isr = search.first(NEEDS.isr, () => 1)?.candidate;
  const device = search.first(NEEDS.device, (bytes) => Math.min(bytes, configBytes))?.region;
  // Of this one only the queues' registers are accessed, each of which is looked at by itself.
  const { region, candidate } = search.require(NEEDS.notify, () => 0);
  const arenaOf = (bar: number) => (search.bar(bar) as BarWindow).offset;
  const { bar, offset, length, multiplier } = candidate;
  return {
    common,
    notify: { bar, offset, bytes: length, multiplier, arena: arenaOf(bar), registers: region },
    isr: isr === undefined ? 0 : arenaOf(isr.bar) + isr.offset,
    device,
    taken: search.taken,
  };
}
