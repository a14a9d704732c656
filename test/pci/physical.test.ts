import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { HUGE_PAGE, ownPagemap, PhysicalMemory } from '../../lib/pci/physical.ts';
import { thrown } from '../fakes/errors.ts';
import { fakePagemap } from '../fakes/pagemap.ts';

const BASE = 0x7f00_0001_0000;
/** Where the first huge page of an arena at that address begins. */
const FIRST = HUGE_PAGE - (BASE % HUGE_PAGE);
const segment = (pages: number) => ({ offset: FIRST, length: pages * HUGE_PAGE, huge: true });

describe('Physical addresses', () => {
  it('are those of each huge page, wherever it lies', () => {
    const first = (BASE + FIRST) / HUGE_PAGE;
    const memory = new PhysicalMemory(
      BASE,
      fakePagemap((n) => 1000 - (n - first) * 3),
    );
    expect(memory.pages(segment(3))).toEqual([1000n, 997n, 994n].map((n) => n * BigInt(HUGE_PAGE)));
    // A page that is begun counts.
    expect(memory.pages({ ...segment(1), length: HUGE_PAGE + 1 })).toHaveLength(2);
  });

  it('above 4 GiB keep all of their bits, and no flags', () => {
    const place = 2 ** 31; // of 2^52 bytes
    const soft = (entry: bigint) => entry | (1n << 55n) | (1n << 56n) | (1n << 61n);
    const memory = new PhysicalMemory(
      BASE,
      fakePagemap(() => place, soft),
    );
    expect(memory.pages(segment(1))).toEqual([BigInt(place) * BigInt(HUGE_PAGE)]);
  });

  it('of 0 are none: that is what the kernel says to whoever may not know them', () => {
    const memory = new PhysicalMemory(
      BASE,
      fakePagemap(
        () => 0,
        () => 1n << 63n,
      ),
    );
    const error = thrown(() => memory.pages(segment(1)));
    expect(error.code).toBe('PAGEMAP');
    expect(error.message).toBe(
      `physical address of arena offset ${FIRST}: the kernel does not tell it to this process; it takes CAP_SYS_ADMIN: be root`,
    );
  });

  it('of ordinary pages are refused, as is what does not begin a huge page', () => {
    const memory = new PhysicalMemory(
      BASE,
      fakePagemap(() => 5),
    );
    expect(thrown(() => memory.pages({ ...segment(1), huge: false })).code).toBe('NOT_HUGE');
    expect(thrown(() => memory.pages({ ...segment(1), offset: FIRST + 4096 })).code).toBe('NOT_HUGE');
    const torn = new PhysicalMemory(
      BASE,
      fakePagemap(
        () => 5,
        (entry) => entry + 1n,
      ),
    );
    expect(thrown(() => torn.pages(segment(1))).code).toBe('NO_PHYSICAL');
    const scattered = fakePagemap(
      () => 5,
      (entry, page) => (page % 512 === 511 ? entry + 512n : entry),
    );
    expect(thrown(() => new PhysicalMemory(BASE, scattered).pages(segment(1))).code).toBe('NO_PHYSICAL');
  });

  it('need a page that is present, and a pagemap that answers', () => {
    const absent = fakePagemap(
      () => 5,
      (entry) => entry & ~(1n << 63n),
    );
    expect(thrown(() => new PhysicalMemory(BASE, absent).pages(segment(1))).message).toMatch('no page is there');
    expect(thrown(() => new PhysicalMemory(BASE, () => 0).pages(segment(1))).code).toBe('NO_PHYSICAL');
    const closed = () => {
      throw Object.assign(new Error('EACCES: permission denied'), { errno: -13, code: 'EACCES', syscall: 'open' });
    };
    const error = thrown(() => new PhysicalMemory(BASE, closed).pages(segment(1)));
    expect([error.code, error.message]).toEqual([
      'PAGEMAP',
      expect.stringContaining('cannot be read (EACCES); be root'),
    ]);
  });

  it('are asked of this process', () => {
    const start = Number.parseInt(readFileSync('/proc/self/maps', 'utf8'), 16);
    const entry = new Uint8Array(8);
    expect(ownPagemap(entry, (start / 4096) * 8)).toBe(8);
  });
});
