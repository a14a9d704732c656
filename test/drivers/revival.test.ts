import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Revival } from '../../lib/drivers/revival.ts';

const never = new Promise<never>(() => {});
/** Shorter than any pause that it would otherwise wait for. */
const SOON_MS = 500;

const inTime = (promise: Promise<unknown>) =>
  Promise.race([promise.then(() => true), new Promise((resolve) => setTimeout(resolve, SOON_MS, false))]);

describe('A device that has gone for good', () => {
  let log: string[];
  const steps = {
    close: async (ms: number) => {
      log.push(`close ${ms}`);
      return false;
    },
    reset: () => never,
    release: () => log.push('release'),
    bringUp: () => never,
    changed: (up: boolean, reason: string) => log.push(`${up ? 'up' : 'down'}: ${reason}`),
    failed: () => log.push('failed'),
  };
  const make = (other: Partial<typeof steps> = {}) => new Revival({ ...steps, ...other });
  beforeEach(() => {
    log = [];
  });

  it('has its workers step back and take the frames, and nobody waits for that', async () => {
    const close = (ms: number) => {
      log.push(`close ${ms}`);
      return never;
    };
    const revival = make({ close });
    revival.gone('pulled');
    expect(log).toEqual(['down: pulled', 'close 0', 'release']);
    expect(revival.idle).toBe(true);
    expect(await inTime(revival.stop())).toBe(true);
  });

  it('is not waited for between two attempts to bring it back', async () => {
    const revival = make();
    revival.broken('a ring');
    // The pauses double: here comes one of a second or more.
    await vi.waitFor(() => expect(log.filter((line) => line.startsWith('close')).length).toBeGreaterThan(6), 5000);
    revival.gone('pulled');
    expect(await inTime(revival.stop())).toBe(true);
    expect(log.slice(-3)).toEqual(['down: pulled', 'close 0', 'release']);
  });

  it('is told once, and not brought back', async () => {
    const revival = make();
    revival.gone('pulled');
    revival.gone('pulled');
    revival.back();
    revival.broken('a ring');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(log).toEqual(['down: pulled', 'close 0', 'release']);
  });
});
