/** The table of MSI-X vectors, which is the kernel's: what may be mapped around it (PCI Local Bus 3.0 §6.8.2). Control half. */
import type { Region } from '../pci/access.ts';
import { CAPABILITY, type ConfigSpace, capabilities } from '../pci/config-space.ts';

const PAGE = 4096;
/** Offsets in the capability, and what is in the table's: the BAR's number in the lowest bits. */
const MSIX = { control: 2, table: 4 } as const;
const TABLE_SIZE = 0x7ff;
const BIR = 7;
const VECTOR_BYTES = 16;

/** Where the table is: its BAR, and the pages that it touches; undefined when the function has none. */
export function tableOf(config: ConfigSpace): { bar: number; start: number; end: number } | undefined {
  const found = capabilities(config).find(({ id }) => id === CAPABILITY.msix);
  if (found === undefined) return undefined;
  const table = config.read(found.offset + MSIX.table, 32);
  const vectors = (config.read(found.offset + MSIX.control, 16) & TABLE_SIZE) + 1;
  const first = (table & ~BIR) >>> 0;
  const end = Math.ceil((first + vectors * VECTOR_BYTES) / PAGE) * PAGE;
  return { bar: table & BIR, start: Math.floor(first / PAGE) * PAGE, end };
}

/** The parts of `areas` that lie outside of [start, end). */
export function around(
  areas: Region['areas'],
  { start, end }: { readonly start: number; readonly end: number },
): Region['areas'] {
  return areas.flatMap((area) => {
    const last = area.at + area.length;
    const part = (from: number, to: number) => ({
      at: from,
      length: to - from,
      fdOffset: area.fdOffset + from - area.at,
    });
    const parts = [part(area.at, Math.min(last, start)), part(Math.max(area.at, end), last)];
    return end <= area.at || start >= last ? [area] : parts.filter(({ length }) => length > 0);
  });
}
