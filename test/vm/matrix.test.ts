/**
 * Every card that QEMU has and linecard drives, by every way of access: found, bound, brought up, tried in every poll mode
 * (`linecard selftest`: frames forwarded, payload and order checked, the statistics of both sides compared), stopped, and
 * given back to its kernel driver, which works again. One guest per way of access, with one cpu each, side by side.
 */
import { afterAll, describe } from 'vitest';
import { table } from '../../lib/cli/text.ts';
import { Guest } from './guest.ts';
import { ALL_NICS, ALL_WAYS, type Cell, crashIn, guestFor, playCell, type Way } from './matrix.ts';
import { testWithGuest } from './tests.ts';

/** Boot, and the cells before it in the same guest. */
const DEADLINE_MS = 900_000;
const cells: Cell[] = [];
const crashes: string[] = [];

/** The guest for a way of access: booted when it is first asked for. Who asks waits for who asked before. */
class Place {
  private readonly way: Way;
  private guest: Promise<Guest> | undefined;
  private turn: Promise<unknown> = Promise.resolve();
  private crashed = false;

  constructor(way: Way) {
    this.way = way;
  }

  use<T>(body: (guest: Guest) => Promise<T>): Promise<T> {
    const mine = this.turn.then(() => this.attempt(body));
    this.turn = mine.catch(() => {});
    return mine;
  }

  /** Where the emulator crashes in a way that is known, once more, once. */
  private async attempt<T>(body: (guest: Guest) => Promise<T>): Promise<T> {
    try {
      this.guest ??= boot(this.way);
      return await body(await this.guest);
    } catch (error) {
      const crash = crashIn(error);
      if (crash === undefined || this.crashed) throw error;
      this.crashed = true;
      crashes.push(`${this.way}: ${crash}`);
      await this.close();
      return this.attempt(body);
    }
  }

  async close(): Promise<void> {
    const guest = await this.guest?.catch(() => undefined);
    this.guest = undefined;
    await guest?.close();
  }
}

async function boot(way: Way): Promise<Guest> {
  const guest = await Guest.boot(guestFor(way));
  await guest.run('echo 40 > /proc/sys/vm/nr_hugepages; modprobe -a virtio_net e1000e igb', 120_000);
  return guest;
}

describe.concurrent('In a guest', () => {
  const places = ALL_WAYS.map((way) => ({ way, place: new Place(way) }));
  afterAll(async () => {
    for (const { place } of places) await place.close();
  });

  for (const { way, place } of places) {
    for (const nic of ALL_NICS) {
      testWithGuest(
        `two ${nic} cards are tested by ${way}, and go back to the kernel`,
        async () => {
          cells.push(await place.use((guest) => playCell(guest, way, nic)));
        },
        DEADLINE_MS,
      );
    }
  }
});

afterAll(() => {
  const modes = ['adaptive', 'busy', 'interrupt'];
  const columns = ['access', 'card', 'frames', ...modes.map((mode) => `${mode}/s`), 'seconds'];
  const rows = cells.map(({ way, nic, frames, rates, seconds }) => [
    ...[way, nic, String(frames), ...modes.map((mode) => String(rates[mode])), seconds.toFixed(1)],
  ]);
  const titles = columns.map((title) => ({ title }));
  console.log([...table(titles, rows), `crashes of the emulator: ${crashes.join('; ') || 'none'}`].join('\n'));
});
