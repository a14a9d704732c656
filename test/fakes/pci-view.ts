/** Functions as a devio sees them, all of them wanted. */
import type { PciView, PciWishes } from '../../lib/pci/devio.ts';

export class FakePciView implements PciView {
  wishes: PciWishes | undefined;
  readonly log: string[] = [];

  constructor(wishes: PciWishes = {}) {
    this.wishes = wishes;
  }

  wanted(): PciWishes | undefined {
    return this.wishes;
  }

  take(): PciWishes | undefined {
    this.log.push('take');
    return this.wishes;
  }

  unwant(): void {
    this.log.push('unwant');
  }

  recall(): void {
    this.log.push('recall');
  }
}
