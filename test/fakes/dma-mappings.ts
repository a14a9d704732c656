/** What an IOMMU has mapped, by the rules that type 1 of VFIO and iommufd share (Linux, drivers/vfio/vfio_iommu_type1.c, drivers/iommu/iommufd/io_pagetable.c). */
import { errno } from './kernel-files.ts';

/** First and last address. */
export type Range = readonly [first: bigint, last: bigint];

export interface Mapping {
  readonly iova: bigint;
  readonly memory: Uint8Array;
}

/** Last address that the IOMMU of a PC has. */
const APERTURE = (1n << 39n) - 1n;
const PAGE = 4096n;

const lastOf = ({ iova, memory }: Mapping): bigint => iova + BigInt(memory.length) - 1n;
const meet = ([a, b]: Range, [c, d]: Range): boolean => a <= d && c <= b;

export class DmaMappings {
  readonly list: Mapping[] = [];
  /** Bytes that may be locked; mappings that there may be. */
  memlock = Number.POSITIVE_INFINITY;
  entries = 65_535;
  /** How often memory was mapped since the start. */
  maps = 0;
  /** Reserved for each function that is in. */
  private readonly reserved = new Map<unknown, readonly Range[]>();

  /** Takes a function in. False when something is mapped where it needs the address for itself. */
  attach(who: unknown, reserved: readonly Range[]): boolean {
    if (this.list.some((mapping) => reserved.some((range) => meet([mapping.iova, lastOf(mapping)], range))))
      return false;
    this.reserved.set(who, reserved);
    return true;
  }

  detach(who: unknown): void {
    this.reserved.delete(who);
  }

  /** What is between the reserved ranges. */
  ranges(): Range[] {
    const all = [...this.reserved.values()].flat().sort(([a], [b]) => (a < b ? -1 : 1));
    const free: Range[] = [];
    let next = 0n;
    for (const [first, last] of all) {
      if (first > next) free.push([next, first - 1n]);
      if (last >= next) next = last + 1n;
    }
    if (next <= APERTURE) free.push([next, APERTURE]);
    return free;
  }

  map(iova: bigint, size: bigint, memory: Uint8Array): void {
    if (size === 0n || (size | iova | BigInt(memory.byteOffset)) % PAGE !== 0n) throw errno('EINVAL');
    if (size !== BigInt(memory.length)) throw errno('EFAULT');
    const [first, last] = [iova, iova + size - 1n];
    if (this.list.some((one) => meet([one.iova, lastOf(one)], [first, last]))) throw errno('EEXIST');
    if (this.list.length >= this.entries) throw errno('ENOSPC');
    if (!this.ranges().some(([start, end]) => start <= first && last <= end)) throw errno('EINVAL');
    if (this.locked + memory.length > this.memlock) throw errno('ENOMEM');
    this.list.push({ iova, memory });
    this.maps++;
  }

  /** Takes away what lies within; returns how many bytes. Null when that would split a mapping. */
  unmap(iova: bigint, size: bigint): bigint | null {
    const [first, last] = [iova, iova + size - 1n];
    const met = this.list.filter((one) => meet([one.iova, lastOf(one)], [first, last]));
    if (met.some((one) => one.iova < first || lastOf(one) > last)) return null;
    for (const one of met) this.list.splice(this.list.indexOf(one), 1);
    return met.reduce((sum, { memory }) => sum + BigInt(memory.length), 0n);
  }

  clear(): void {
    this.list.length = 0;
  }

  get locked(): number {
    return this.list.reduce((sum, { memory }) => sum + memory.length, 0);
  }

  /** The memory at address `iova`, from there to the end of its mapping. */
  at(iova: bigint): Uint8Array | undefined {
    const found = this.list.find((one) => one.iova <= iova && iova <= lastOf(one));
    return found?.memory.subarray(Number(iova - found.iova));
  }
}
