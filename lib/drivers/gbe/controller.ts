/**
 * A gigabit controller as its control half sees it: what 82574 and 82576 do alike (datasheets of both, ch. 4,
 * initialization). What they do differently their classes do. Control half.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BarWindow, Interrupts, PciDevio, RegisterAccess } from '../../pci/devio.ts';
import type { PortConfig } from '../../pktio/types.ts';

import { gone, late } from './errors.ts';
import { filterBits, type Multicast, setAddresses } from './filters.ts';
import type { Buffers } from './fit.ts';
import * as R from './regs.ts';

/** Time limits, in milliseconds; for tests. */
export interface Limits {
  /** Bus mastering ends once requests that are under way have been answered. */
  readonly masterMs: number;
  readonly resetMs: number;
  readonly nvmMs: number;
  readonly phyMs: number;
  readonly queueMs: number;
}
export const LIMITS: Limits = { masterMs: 100, resetMs: 500, nvmMs: 200, phyMs: 200, queueMs: 100 };

/** What is in transit is let go before a reset. */
const QUIET_MS = 10;

/** What kind of controller it is. */
export interface Traits {
  /** Name of its driver. */
  readonly driver: string;
  readonly queues: number;
  /** Longest packet, with FCS. */
  readonly longest: number;
  /** It drops packets above a length that it is told. */
  readonly limitsLength: boolean;
  /** Its descriptors, as its datasheet calls them; whether it has legacy ones, too. */
  readonly descriptors: string;
  readonly legacy: boolean;
  /** Buffers of less than a KiB can be told. */
  readonly small: boolean;
  readonly rx: R.RingRegisters;
  readonly tx: R.RingRegisters;
  /** Word 2 of a tx descriptor, and where the packet's length begins in word 3, or 0. */
  readonly command: number;
  readonly paylen: number;
}

/** A ring, as the device knows it. */
export interface RingPlace {
  readonly address: bigint;
  readonly size: number;
}

/** What it is to do. */
export interface Program {
  readonly config: PortConfig;
  readonly buffers: Buffers;
  readonly multicast: Multicast;
  /** Descriptors of the older kind, where it has them. */
  readonly legacy: boolean;
  readonly rx: readonly RingPlace[];
  readonly tx: readonly RingPlace[];
  readonly interrupts: Interrupts | undefined;
}

/** How an rx queue interrupts: registers, and the bits to write to them. */
export interface CauseRegisters {
  readonly clear: number;
  readonly enable: number;
  readonly disable: number;
  readonly cause: number;
}

/** What a controller knows of a device that runs. Plain data. */
export interface ControllerState {
  readonly rctl: number;
  readonly hungMasters: number;
}

/** A controller. */
export abstract class Controller {
  abstract readonly traits: Traits;
  readonly bar: BarWindow;
  protected readonly name: string;
  protected readonly limits: Limits;
  private readonly devio: PciDevio;
  /** Times that bus mastering did not end. */
  hungMasters = 0;
  /** Bits of RCTL that do not change while it runs. */
  private rctl = 0;

  constructor(name: string, devio: PciDevio, limits: Limits) {
    this.name = name;
    this.devio = devio;
    this.limits = limits;
    this.bar = devio.bar(0);
  }

  get registers(): RegisterAccess {
    return this.bar.registers;
  }

  /** True when it does not answer: STATUS has bits that are always 0. */
  get gone(): boolean {
    return this.registers.get32(R.REG.STATUS) === 0xffff_ffff;
  }

  /** From any state to one in which it does nothing, and has its own MAC address. Throws `DEVICE_TIMEOUT`, `DEVICE_LOST`. */
  async reset(): Promise<void> {
    const { registers } = this;
    if (this.gone) throw gone(this.name);
    this.maskInterrupts();
    registers.put32(R.REG.RCTL, 0);
    registers.put32(R.REG.TCTL, R.TCTL.PSP);
    await sleep(QUIET_MS);
    await this.disableMaster();
    this.set(R.REG.CTRL, R.CTRL.RST);
    // It must not be asked for a microsecond.
    await sleep(1);
    await this.until('reset', this.limits.resetMs, () => (registers.get32(R.REG.CTRL) & R.CTRL.RST) === 0);
    await this.afterReset();
    // Whatever the reset has left.
    this.maskInterrupts();
    registers.get32(R.REG.ICR);
  }

  /** Programs it, from reset, and lets it run. Throws `DEVICE_TIMEOUT`, `DEVICE_LOST`. */
  async start(program: Program): Promise<void> {
    const { registers } = this;
    const { config, multicast, buffers } = program;
    this.prepare();
    setAddresses(registers, config.mac, multicast);
    for (const register of [R.REG.FCAL, R.REG.FCAH, R.REG.FCT, R.REG.FCTTV, R.REG.WUC]) registers.put32(register, 0);
    registers.put32(R.REG.TIPG, R.TCTL_VALUES.TIPG);
    this.set(R.REG.CTRL_EXT, R.CTRL_EXT.DRV_LOAD);
    for (const [n, ring] of program.tx.entries()) this.programRing(this.traits.tx, n, ring);
    for (const [n, ring] of program.rx.entries()) this.programRing(this.traits.rx, n, ring);
    this.programQueues(program);
    if (program.interrupts !== undefined) this.programInterrupts(program.interrupts, program.rx.length);
    await this.linkUp();
    // Last: every address that it knows is one of ours by now.
    this.devio.setBusMaster(true);
    await this.enableQueues(program);
    registers.put32(R.REG.TCTL, this.transmitControl());
    this.rctl = R.RCTL.EN | R.RCTL.SECRC | (buffers.long ? R.RCTL.LPE : 0) | this.bufferBits(buffers);
    this.setFilter(config.promiscuous, multicast);
  }

  /** Receives what may pass from now on. */
  setFilter(promiscuous: boolean, multicast: Multicast): void {
    this.registers.put32(R.REG.RCTL, (this.rctl | filterBits(promiscuous, multicast)) >>> 0);
  }

  /** Stops it: after this it touches no memory. In the order in which QEMU's survives it, too: interrupts first. */
  async stop(): Promise<void> {
    try {
      await this.reset();
      this.clear(R.REG.CTRL_EXT, R.CTRL_EXT.DRV_LOAD);
    } finally {
      this.devio.setBusMaster(false);
    }
  }

  /** What another release's controller goes on with, `takeOver`. */
  handOver(): ControllerState {
    return { rctl: this.rctl, hungMasters: this.hungMasters };
  }

  /** Goes on with a device that runs, whose registers are left as they are. */
  takeOver({ rctl, hungMasters }: ControllerState): void {
    this.rctl = rctl;
    this.hungMasters = hungMasters;
  }

  get status(): number {
    return this.registers.get32(R.REG.STATUS);
  }

  /** No interrupt is enabled after this. */
  protected abstract maskInterrupts(): void;
  /** Waits for what a reset begins. */
  protected abstract afterReset(): Promise<void>;
  /** Sets what has to be other than it comes. */
  protected abstract prepare(): void;
  /** Everything about queues but where their rings are. */
  protected abstract programQueues(program: Program): void;
  /** Vector n is rx queue n's, the one after them other causes'; or one for everything. Link changes are enabled. */
  protected abstract programInterrupts(interrupts: Interrupts, rxQueues: number): void;
  /** The queues, once the device reaches memory. */
  protected abstract enableQueues(program: Program): Promise<void>;
  protected abstract transmitControl(): number;
  protected abstract bufferBits(buffers: Buffers): number;
  /** Makes the PHY ours, or gives it back. */
  protected abstract ownPhy(own: boolean): Promise<void>;
  /** How rx queue `queue` interrupts. */
  abstract causes(kind: Interrupts['kind'], queue: number): CauseRegisters;
  /** The link's interrupt has come: the next one may. */
  abstract rearmLink(rxQueues: number): void;

  protected set(field: typeof R.REG.CTRL, bits: number): void {
    this.registers.put32(field, (this.registers.get32(field) | bits) >>> 0);
  }

  protected clear(field: typeof R.REG.CTRL, bits: number): void {
    this.registers.put32(field, (this.registers.get32(field) & ~bits) >>> 0);
  }

  /** Resolves when `done` says so. Throws `DEVICE_TIMEOUT` after `ms`, and `DEVICE_LOST`. */
  protected async until(what: string, ms: number, done: () => boolean): Promise<void> {
    const end = performance.now() + ms;
    // Asked before it is said that it is late: this thread may have been away for long.
    for (let over = false; ; over = performance.now() > end) {
      if (this.gone) throw gone(this.name);
      if (done()) return;
      if (over) throw late(`port ${this.name}: ${what}`, ms);
      await sleep(1);
    }
  }

  /** Has it start no more requests, and waits for those that are under way. */
  private async disableMaster(): Promise<void> {
    this.set(R.REG.CTRL, R.CTRL.GIO_MASTER_DISABLE);
    try {
      await this.until('bus master disable', this.limits.masterMs, () => {
        return (this.status & R.STATUS.GIO_MASTER_ENABLE) === 0;
      });
    } catch (error) {
      if ((error as { code?: string }).code !== 'DEVICE_TIMEOUT') throw error;
      this.hungMasters++; // the reset that follows ends them
    }
  }

  private programRing(ring: R.RingRegisters, n: number, { address, size }: RingPlace): void {
    const { registers } = this;
    registers.put32(ring.BAL(n), Number(address & 0xffff_ffffn));
    registers.put32(ring.BAH(n), Number(address >> 32n));
    registers.put32(ring.LEN(n), size * R.DESC_BYTES);
    registers.put32(ring.HEAD(n), 0);
    registers.put32(ring.TAIL(n), 0);
  }

  /** Speed and duplex are the PHY's to find out; a kernel driver may have left it without power, or a reset without a partner. */
  private async linkUp(): Promise<void> {
    this.clear(R.REG.CTRL, R.CTRL.FRCSPD | R.CTRL.FRCDPLX | R.CTRL.VME | R.CTRL.RFCE | R.CTRL.TFCE);
    this.set(R.REG.CTRL, R.CTRL.SLU);
    await this.ownPhy(true);
    try {
      const { register, POWER_DOWN, ISOLATE, AUTONEG, RESTART } = R.PHY_CONTROL;
      const control = await this.mdic(R.MDIC.READ, register);
      const wanted = (control & ~(POWER_DOWN | ISOLATE)) | AUTONEG;
      const status = await this.mdic(R.MDIC.READ, R.PHY_STATUS.register);
      const settled = wanted === control && (status & R.PHY_STATUS.AUTONEG_COMPLETE) !== 0;
      if (!settled) await this.mdic(R.MDIC.WRITE, register, wanted | RESTART);
    } finally {
      await this.ownPhy(false);
    }
  }

  private async mdic(operation: number, register: number, data = 0): Promise<number> {
    const { registers } = this;
    const { REGADD, PHYADD, READY, ERROR } = R.MDIC;
    registers.put32(R.REG.MDIC, operation | (R.PHY_ADDRESS << PHYADD) | (register << REGADD) | data);
    let answer = 0;
    await this.until(`PHY register ${register}`, this.limits.phyMs, () => {
      answer = registers.get32(R.REG.MDIC);
      return (answer & (READY | ERROR)) !== 0;
    });
    if ((answer & ERROR) !== 0) throw late(`port ${this.name}: PHY register ${register}`, this.limits.phyMs);
    return answer & 0xffff;
  }
}
