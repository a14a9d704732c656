/** A controller's own statistics: registers that are cleared as they are read, added up. Control half. */
import type { RegisterAccess } from '../../pci/devio.ts';
import type { Counters } from '../../pktio/types.ts';
import { STATISTICS } from './regs.ts';

type Name = keyof typeof STATISTICS;

/** Pairs of registers, low half first: what is read of the one belongs to what is read of the other right after. */
const PAIRS: Readonly<Record<string, readonly [Name, Name]>> = {
  gorc: ['GORCL', 'GORCH'],
  gotc: ['GOTCL', 'GOTCH'],
  tor: ['TORL', 'TORH'],
  tot: ['TOTL', 'TOTH'],
};
const halves = Object.values(PAIRS).flat();
const SINGLES = (Object.keys(STATISTICS) as Name[]).filter((name) => !halves.includes(name));

/** Totals since the port was opened, by the registers' names. */
export class Statistics {
  private readonly totals: Record<string, bigint> = Object.fromEntries(
    [...SINGLES.map((name) => name.toLowerCase()), ...Object.keys(PAIRS)].map((name) => [name, 0n]),
  );

  /** Adds what the registers have gathered since they were read last. */
  read(registers: RegisterAccess): void {
    for (const name of SINGLES) this.totals[name.toLowerCase()] += BigInt(registers.get32(STATISTICS[name]));
    for (const [name, [low, high]] of Object.entries(PAIRS)) {
      const lower = BigInt(registers.get32(STATISTICS[low]));
      this.totals[name] += lower | (BigInt(registers.get32(STATISTICS[high])) << 32n);
    }
  }

  get counters(): Counters {
    return { ...this.totals };
  }

  /** Goes on from what was counted before. */
  takeOver(counters: Counters): void {
    Object.assign(this.totals, counters);
  }
}
