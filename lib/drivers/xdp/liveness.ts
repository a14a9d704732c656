/**
 * What no event tells: a socket that has lost its interface (poll says nothing, SO_ERROR does), a kernel that will not send
 * any more, a program that somebody has taken off. Control half.
 */
import type { Xsk } from '../../devios/xsk-socket.ts';
import type { Link } from '../../netlink/rtnetlink.ts';
import type { Counters } from '../../pktio/types.ts';
import { errnoName } from '../../system-error.ts';
import type { Death } from './death.ts';
import { KICK } from './regs.ts';

/** How often sockets are looked at; and at every which of these looks, the interface. */
const LOOK_MS = 100;
const INTERFACE_LOOKS = 4;

const nameOf = (errno: number): string => errnoName({ errno: -errno }) ?? `error ${errno}`;

/** What is looked at. */
export interface Living {
  readonly memory: SharedArrayBuffer;
  readonly sockets: readonly Pick<Xsk, 'failure'>[];
  /** Arena offsets of words where tx queues leave the error number of a kick that no other will mend. */
  readonly refusals: readonly number[];
  /** Packets so far that had no room in a frame; 0 where that is no matter of settings. */
  tooLarge(): bigint;
  link(): Link | undefined;
  /** Reads interfaces afresh: of programs that come and go the kernel does not tell. */
  refresh(): Promise<void>;
}

/** Of what the kernel dropped, by its counters, that for which there was a frame: it did not fit. */
export const withoutRoom = ({ rx_dropped = 0n, rx_fill_ring_empty_descs = 0n }: Counters): bigint =>
  rx_dropped - rx_fill_ring_empty_descs;

/** Looks at a started port until `stop`, or until it has told `dead`, once. */
export class Liveness {
  private readonly living: Living;
  private readonly dead: (death: Death) => void;
  private readonly cut: (packets: bigint) => void;
  private cutTold = false;
  private readonly timer: NodeJS.Timeout;
  private open = true;
  private looks = 0;
  private found: Death | undefined;
  private program = 0;
  private missing = 0;

  /** `cut` is told once when packets have turned up that had no room. */
  constructor(living: Living, dead: (death: Death) => void, cut: (packets: bigint) => void) {
    this.living = living;
    this.dead = dead;
    this.cut = cut;
    this.timer = setInterval(() => void this.look(), LOOK_MS);
    this.timer.unref();
  }

  stop(): void {
    this.open = false;
    clearInterval(this.timer);
  }

  private async look(): Promise<void> {
    if (this.found !== undefined) {
      // Found at the look before: whoever knows better why, netlink, has had the time to say so.
      this.stop();
      this.dead(this.found);
      return;
    }
    this.found = this.socketDeath();
    this.looks++;
    this.lookAtSizes();
    if (this.looks % INTERFACE_LOOKS !== 0) return;
    await this.living.refresh();
    if (this.open) this.found ??= this.programDeath(this.living.link());
  }

  private lookAtSizes(): void {
    const packets = this.cutTold ? 0n : this.living.tooLarge();
    if (packets <= 0n) return;
    this.cutTold = true;
    this.cut(packets);
  }

  private socketDeath(): Death | undefined {
    const { memory, sockets, refusals } = this.living;
    const failures = sockets.map((xsk) => xsk.failure());
    const kicks = refusals.map((at) => Atomics.load(new Int32Array(memory, at, 1), 0));
    const gone = failures.find((errno) => errno !== 0) ?? kicks.find((errno) => errno === KICK.noDevice);
    if (gone !== undefined) {
      const why = `its socket has lost its interface (${nameOf(gone)})`;
      return { code: 'PORT_LOST', why, fix: 'open it again when the interface is back' };
    }
    const refused = kicks.find((errno) => errno !== 0);
    if (refused === undefined) return undefined;
    const why = `the kernel refuses to send what is in its tx ring (${nameOf(refused)})`;
    return {
      code: 'XSK_REFUSED',
      why,
      fix: 'its sockets are made anew, unless they are some moments old; report this: linecard gives the kernel nothing to refuse',
    };
  }

  /** Attached by a link, it goes only with us, or by force. */
  private programDeath(link: Link | undefined): Death | undefined {
    if (link === undefined || link.xdp === 'several') return undefined;
    const { xdpProgram: now } = link;
    if (this.program === 0) this.program = now;
    // Twice in a row: what was read may be from before it was attached.
    this.missing = now !== 0 && now === this.program ? 0 : this.missing + 1;
    if (this.missing < 2) return undefined;
    const instead = now === 0 ? '' : `, and program ${now} is there instead (bpftool prog show id ${now})`;
    const why = `its XDP program was taken off ${link.name} by somebody else${instead}`;
    return { code: 'XDP_DETACHED', why, fix: 'open it again when nobody else uses the interface' };
  }
}
