/** The 82574 (Intel 82574 GbE Controller Family Datasheet 3.4): what it does its own way. Control half. */
import type { Interrupts } from '../../pci/devio.ts';
import { type CauseRegisters, Controller, type Program, type Traits } from '../gbe/controller.ts';
import { setSpread } from '../gbe/filters.ts';
import type { Buffers } from '../gbe/fit.ts';
import * as R from '../gbe/regs.ts';
import * as E from './regs.ts';

/** Thresholds of rings in descriptors: 32 are fetched ahead, when four can be, and each is written back when it is done. */
const RX_DCTL = (32 << R.DCTL.PTHRESH) | (4 << R.DCTL.HTHRESH) | (1 << R.DCTL.WTHRESH) | R.DCTL.GRAN;
const TX_DCTL =
  (31 << R.DCTL.PTHRESH) | (1 << R.DCTL.HTHRESH) | (1 << R.DCTL.WTHRESH) | R.DCTL.GRAN | R.DCTL.COUNT_DESC;

/** What a hash is made over. */
const HASHES = R.MRQC.TCP_IPV4 | R.MRQC.IPV4 | R.MRQC.IPV6 | R.MRQC.TCP_IPV6;

const SMALL_BUFFERS: Readonly<Record<number, number>> = { 512: R.RCTL.BSIZE_512, 256: R.RCTL.BSIZE_256 };

/** An 82574. */
export class E1000e extends Controller {
  readonly traits: Traits = {
    driver: 'e1000e',
    queues: E.QUEUES,
    longest: E.LONGEST_FRAME,
    limitsLength: false,
    descriptors: 'extended',
    legacy: true,
    small: true,
    rx: E.RX,
    tx: E.TX,
    command: R.TX_KIND.extended | R.TX_COMMAND.IFCS,
    paylen: 0,
  };

  protected maskInterrupts(): void {
    this.registers.put32(R.REG.IMC, 0xffff_ffff);
    this.registers.put32(E.REG.EIAC, 0);
  }

  protected async afterReset(): Promise<void> {
    await this.until('NVM', this.limits.nvmMs, () => (this.registers.get32(R.REG.EECD) & R.EECD_AUTO_RD) !== 0);
  }

  protected prepare(): void {
    const { TARC0_SET, CTRL_CLEAR, CTRL_EXT_SET, CTRL_EXT_CLEAR, GCR_SET, GCR2_SET } = E.REQUIRED;
    this.set(E.REG.TARC(0), TARC0_SET);
    this.clear(R.REG.CTRL, CTRL_CLEAR);
    this.clear(R.REG.CTRL_EXT, CTRL_EXT_CLEAR);
    this.set(R.REG.CTRL_EXT, CTRL_EXT_SET);
    this.set(E.REG.GCR, GCR_SET);
    this.set(E.REG.GCR2, GCR2_SET);
  }

  protected programQueues({ rx, legacy }: Program): void {
    const { registers } = this;
    for (let n = 0; n < E.QUEUES; n++) {
      registers.put32(E.TX.DCTL(n), TX_DCTL);
      registers.put32(E.RX.DCTL(n), RX_DCTL);
    }
    // Nothing is put off: interrupts are on only when somebody waits for them.
    for (const delay of [E.REG.RDTR, E.REG.RADV, E.REG.TIDV, E.REG.TADV]) registers.put32(delay, 0);
    registers.put32(R.REG.RFCTL, legacy ? 0 : R.RFCTL_EXSTEN);
    registers.put32(R.REG.RXCSUM, R.RXCSUM_PCSD);
    const spread = rx.length > 1;
    if (spread) setSpread(registers, rx.length, E.RETA_QUEUE);
    registers.put32(R.REG.MRQC, spread ? E.MRQC_RSS | HASHES : 0);
  }

  protected programInterrupts({ kind }: Interrupts, rxQueues: number): void {
    const { registers } = this;
    if (kind !== 'msix') return;
    const queues = Array.from({ length: rxQueues }, (_, n) => n);
    const vector = (n: number, at: number) => (n | E.IVAR.VALID) << at;
    const ivar = queues.reduce((word, n) => word | vector(n, E.IVAR.RXQ + n * 4), vector(rxQueues, E.IVAR.OTHER));
    registers.put32(E.REG.IVAR, ivar);
    for (let n = 0; n < E.VECTORS; n++) registers.put32(E.REG.EITR(n), 0);
    // A queue's cause is cleared, and disabled, by the message that tells of it: nobody reads ICR.
    registers.put32(
      E.REG.EIAC,
      queues.reduce((bits, n) => bits | (E.CAUSE.RXQ0 << n), 0),
    );
    this.set(R.REG.CTRL_EXT, R.CTRL_EXT.PBA_CLR);
    this.rearmLink();
  }

  protected async enableQueues(): Promise<void> {}

  protected transmitControl(): number {
    const { EN, PSP, RTLC, MULR, CT, COLD } = R.TCTL;
    return EN | PSP | RTLC | MULR | (R.TCTL_VALUES.CT << CT) | (R.TCTL_VALUES.COLD << COLD);
  }

  protected bufferBits({ told }: Buffers): number {
    // BSIZE, which is 0 for 2,048 bytes.
    if (told === 2048) return 0;
    return SMALL_BUFFERS[told] ?? (told / 1024) << R.RCTL.FLXBUF;
  }

  protected async ownPhy(own: boolean): Promise<void> {
    if (!own) return this.clear(E.REG.EXTCNF_CTRL, E.MDIO_SW_OWNERSHIP);
    await this.until('PHY ownership', this.limits.phyMs, () => {
      this.set(E.REG.EXTCNF_CTRL, E.MDIO_SW_OWNERSHIP);
      return (this.registers.get32(E.REG.EXTCNF_CTRL) & E.MDIO_SW_OWNERSHIP) !== 0;
    });
  }

  causes(kind: Interrupts['kind'], queue: number): CauseRegisters {
    const cause = kind === 'msix' ? E.CAUSE.RXQ0 << queue : R.CAUSE.RXT0 | R.CAUSE.RXDMT0 | R.CAUSE.RXO;
    return { clear: R.REG.ICR, enable: R.REG.IMS, disable: R.REG.IMC, cause };
  }

  rearmLink(): void {
    this.registers.put32(R.REG.ICR, R.CAUSE.LSC | E.CAUSE.OTHER);
    this.registers.put32(R.REG.IMS, R.CAUSE.LSC | E.CAUSE.OTHER);
  }
}
