/** Functions that were handed over and are not there: they note in which order what is done to them. */
import type { Hands } from '../../lib/keeper/custody.ts';
import type { KeeperMessage } from '../../lib/keeper/protocol.ts';
import type { FunctionAccess } from '../../lib/pci/access.ts';
import { COMMAND, type ConfigSpace, HEADER } from '../../lib/pci/config-space.ts';

/** How a function misbehaves. */
export interface FakeKept {
  readonly resettable?: boolean;
  readonly absence?: string;
  /** It does not answer. */
  readonly gone?: boolean;
  /** Its bus master bit stays on, until it is reset (`reset`), or for ever. */
  readonly sticky?: 'reset' | 'ever';
  readonly resetFails?: Error;
  readonly closeFails?: Error;
}

/** Hands that write a log, in which fds are what was handed over. */
export class FakeHands implements Hands {
  readonly log: string[] = [];
  readonly made = new Map<string, FakeKept>();
  takeFails: Error | undefined;
  /** Each look at the clock takes a millisecond. */
  private time = 0;
  private duplicates = 1000;

  take({ address }: KeeperMessage & { readonly type: 'function' }, fds: readonly number[]): FunctionAccess {
    if (this.takeFails !== undefined) throw this.takeFails;
    const made = this.made.get(address) ?? {};
    const say = (what: string) => void this.log.push(`${address.slice(5, 7)} ${what}`);
    const state = { command: COMMAND.busMaster | COMMAND.memory };
    return {
      ...{ address, fd: fds[0]!, configFile: { fd: fds.at(-1)!, position: 0 }, resettable: made.resettable ?? true },
      config: fakeConfig(state, made, say),
      region: () => ({ fd: -1, bytes: 0, offset: 0, areas: [] }),
      reset() {
        say('reset');
        if (made.resetFails !== undefined) throw made.resetFails;
        if (made.sticky !== 'ever') state.command = 0;
      },
      interrupts: () => {
        throw new Error('interrupts are the engine’s');
      },
      absence: () => made.absence,
      watch: () => ({ close() {} }),
      close() {
        say(`close ${fds.join(' ')}`);
        if (made.closeFails !== undefined) throw made.closeFails;
      },
    };
  }

  closedFirst(fd: number, others: readonly number[]): number {
    this.log.push(`duplicate ${fd} above ${others.join(' ') || 'none'} as ${++this.duplicates}`);
    return this.duplicates;
  }

  close(fd: number): void {
    this.log.push(`close ${fd}`);
  }

  now(): number {
    return this.time++;
  }
}

function fakeConfig(state: { command: number }, made: FakeKept, say: (what: string) => void): ConfigSpace {
  return {
    size: 256,
    read(offset, width) {
      if (made.gone === true) return 2 ** width - 1;
      return offset === HEADER.command ? state.command : 0x1af4;
    },
    write(offset, _width, value) {
      if (offset !== HEADER.command) return say(`write ${offset}`);
      say((value & COMMAND.busMaster) === 0 ? 'bus master off' : 'bus master on');
      if (made.sticky === undefined) state.command = value;
    },
  };
}
