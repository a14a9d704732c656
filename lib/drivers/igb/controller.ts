/** The 82576 (Intel 82576EB Gigabit Ethernet Controller Datasheet 2.63): what it does its own way. Control half. */
import type { Interrupts } from '../../pci/devio.ts';
import { type CauseRegisters, Controller, type Program, type Traits } from '../gbe/controller.ts';
import { setSpread } from '../gbe/filters.ts';
import * as R from '../gbe/regs.ts';
import * as I from './regs.ts';

/** Thresholds of rings in descriptors: eight are fetched ahead, and each is written back when it is done. */
const RX_DCTL = (8 << R.DCTL.PTHRESH) | (8 << R.DCTL.HTHRESH) | (1 << R.DCTL.WTHRESH);
const TX_DCTL = (8 << R.DCTL.PTHRESH) | (1 << R.DCTL.HTHRESH) | (1 << R.DCTL.WTHRESH);

/** What a hash is made over. */
const HASHES = R.MRQC.TCP_IPV4 | R.MRQC.IPV4 | R.MRQC.IPV6 | R.MRQC.TCP_IPV6 | R.MRQC.UDP_IPV4 | R.MRQC.UDP_IPV6;

const POOLS = 8;

const numbersTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n);
/** Vectors 0 … `count` − 1 as bits. */
const bits = (count: number): number => (1 << count) - 1;

/** An 82576. */
export class Igb extends Controller {
  readonly traits: Traits = {
    driver: 'igb',
    queues: I.QUEUES,
    longest: I.LONGEST_FRAME,
    limitsLength: true,
    descriptors: 'advanced',
    legacy: false,
    small: false,
    rx: I.RX,
    tx: I.TX,
    command: R.TX_KIND.advanced | R.TX_COMMAND.IFCS,
    paylen: R.TX_PAYLEN,
  };

  protected maskInterrupts(): void {
    const { registers } = this;
    registers.put32(R.REG.IMC, 0xffff_ffff);
    registers.put32(I.REG.EIMC, 0xffff_ffff);
    registers.put32(I.REG.EIAC, 0);
    registers.put32(I.REG.EIAM, 0);
  }

  protected async afterReset(): Promise<void> {
    const loaded = () =>
      (this.registers.get32(R.REG.EECD) & R.EECD_AUTO_RD) !== 0 &&
      (this.registers.get32(I.REG.EEMNGCTL) & I.CFG_DONE) !== 0;
    try {
      await this.until('NVM', this.limits.nvmMs, loaded);
    } catch (error) {
      // A card without an NVM works all the same; its MAC address is another matter.
      if ((error as { code?: string }).code !== 'DEVICE_TIMEOUT') throw error;
    }
  }

  protected prepare(): void {}

  protected programQueues({ config, rx, tx, buffers }: Program): void {
    const { registers } = this;
    const longest = buffers.segments > 1 ? I.LONGEST_FRAME : buffers.bytes;
    registers.put32(I.REG.RLPML, longest);
    registers.put32(I.REG.VT_CTL, 0);
    const { LPE, RSSE, AUPE, BAM, MPME, STRCRC } = I.VMOLR;
    // Only virtual functions have their pools looked up here; QEMU's card does so for all queues.
    const pool = longest | (buffers.long ? LPE : 0) | (rx.length > 1 ? RSSE : 0) | AUPE | BAM | MPME | STRCRC;
    for (let n = 0; n < POOLS; n++) registers.put32(I.REG.VMOLR(n), pool >>> 0);
    const drop = rx.length > 1 ? I.SRRCTL.DROP_EN : 0;
    for (const n of numbersTo(rx.length)) {
      registers.put32(I.REG.SRRCTL(n), ((buffers.told / 1024) | I.SRRCTL.DESCTYPE_ADVANCED | drop) >>> 0);
      registers.put32(I.RX.DCTL(n), RX_DCTL);
    }
    for (const n of numbersTo(tx.length)) registers.put32(I.TX.DCTL(n), TX_DCTL);
    registers.put32(R.REG.RFCTL, 0);
    registers.put32(R.REG.RXCSUM, R.RXCSUM_PCSD);
    const spread = config.rxQueues > 1;
    if (spread) setSpread(registers, config.rxQueues, 0);
    registers.put32(R.REG.MRQC, spread ? I.MRQC_RSS | HASHES : 0);
  }

  protected programInterrupts({ kind }: Interrupts, rxQueues: number): void {
    const { registers } = this;
    if (kind !== 'msix') {
      registers.put32(I.REG.GPIE, 0);
      return;
    }
    const { NSICR, MULTIPLE_MSIX, EIAME, PBA_SUPPORT } = I.GPIE;
    registers.put32(I.REG.GPIE, (NSICR | MULTIPLE_MSIX | EIAME | PBA_SUPPORT) >>> 0);
    // Rows of queues 0 to 7; their rx queues are the lowest bytes.
    for (let n = 0; n < I.QUEUES; n++) registers.put32(I.REG.IVAR(n), n < rxQueues ? n | I.IVAR_VALID : 0);
    registers.put32(I.REG.IVAR_MISC, (rxQueues | I.IVAR_VALID) << I.IVAR_OTHER);
    for (let n = 0; n < I.VECTORS; n++) registers.put32(I.REG.EITR(n), 0);
    // A vector's cause is cleared, and disabled, by the message that tells of it.
    registers.put32(I.REG.EIAC, bits(rxQueues + 1));
    registers.put32(I.REG.EIAM, bits(rxQueues + 1));
    this.rearmLink(rxQueues);
  }

  protected async enableQueues({ rx, tx }: Program): Promise<void> {
    const enabling = [
      ...numbersTo(tx.length).map((n) => ({ what: `tx queue ${n}`, register: I.TX.DCTL(n) })),
      ...numbersTo(rx.length).map((n) => ({ what: `rx queue ${n}`, register: I.RX.DCTL(n) })),
    ];
    for (const { what, register } of enabling) {
      this.set(register, R.DCTL.ENABLE);
      await this.until(`enabling ${what}`, this.limits.queueMs, () => {
        return (this.registers.get32(register) & R.DCTL.ENABLE) !== 0;
      });
    }
  }

  protected transmitControl(): number {
    const { EN, PSP, RTLC, CT } = R.TCTL;
    return EN | PSP | RTLC | (R.TCTL_VALUES.CT << CT);
  }

  protected bufferBits(): number {
    return 0; // SRRCTL says it
  }

  /** PHYs are shared with the other port's software, and with the firmware. */
  protected async ownPhy(own: boolean): Promise<void> {
    await this.until('semaphore', this.limits.phyMs, () => {
      // Reading SMBI sets it: it is ours when it was not set.
      return (this.registers.get32(R.REG.SWSM) & I.SWSM.SMBI) === 0;
    });
    try {
      await this.until('firmware semaphore', this.limits.phyMs, () => {
        this.set(R.REG.SWSM, I.SWSM.SWESMBI);
        return (this.registers.get32(R.REG.SWSM) & I.SWSM.SWESMBI) !== 0;
      });
      if (own) this.set(R.REG.SW_FW_SYNC, I.SYNC_PHY0);
      else this.clear(R.REG.SW_FW_SYNC, I.SYNC_PHY0);
    } finally {
      this.clear(R.REG.SWSM, I.SWSM.SMBI | I.SWSM.SWESMBI);
    }
  }

  causes(kind: Interrupts['kind'], queue: number): CauseRegisters {
    if (kind === 'msix') {
      const { EICR, EIMS, EIMC } = I.REG;
      return { clear: EICR, enable: EIMS, disable: EIMC, cause: 1 << queue };
    }
    const { RXT0, RXDMT0, RXO } = R.CAUSE;
    return { clear: R.REG.ICR, enable: R.REG.IMS, disable: R.REG.IMC, cause: RXT0 | RXDMT0 | RXO };
  }

  rearmLink(rxQueues: number): void {
    const { registers } = this;
    registers.put32(R.REG.ICR, R.CAUSE.LSC);
    registers.put32(R.REG.IMS, R.CAUSE.LSC);
    registers.put32(I.REG.EICR, 1 << rxQueues);
    registers.put32(I.REG.EIMS, 1 << rxQueues);
  }
}
