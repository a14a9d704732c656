import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { Arena } from '../../lib/arena/arena.ts';
import { hugePages, reserveHugePages } from '../../lib/arena/available.ts';
import { FramePool } from '../../lib/arena/frame-pool.ts';
import { loadNative, type Native } from '../../native/index.ts';
import { thrown } from '../fakes/errors.ts';
import { countFds } from '../fakes/fds.ts';

const HUGE_PAGE = 2 * 1024 * 1024;
const RESERVE = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages';
const WANTED = 8;
const native = loadNative();

/** An addon on a machine without huge pages. */
const poor: Native = {
  ...native,
  mapMemory(arena, offset, length, huge) {
    if (huge) throw Object.assign(new Error('No space left on device'), { syscall: 'fallocate', errno: -28 });
    return native.mapMemory(arena, offset, length, huge);
  },
};

describe('without huge pages', () => {
  it('"try" gives ordinary ones, and says so', () => {
    const arena = new Arena(poor);
    expect(arena.mapMemory(3 * HUGE_PAGE, { huge: 'try' })).toMatchObject({ huge: false, length: 3 * HUGE_PAGE });
    expect(arena.mapped()).toHaveLength(1);
    arena.close();
  });

  it('"need" says how many are missing, and the command that reserves them', () => {
    const arena = new Arena(poor);
    // Other programs may reserve some, or take some, meanwhile: then we look again.
    const pages = () => hugePages() ?? { total: 0, free: 0 };
    let now = pages();
    let error = thrown(() => arena.mapMemory(2.5 * HUGE_PAGE, { huge: 'need' }));
    while (JSON.stringify(now) !== JSON.stringify(pages())) {
      now = pages();
      error = thrown(() => arena.mapMemory(2.5 * HUGE_PAGE, { huge: 'need' }));
    }
    const { total, free } = now;
    expect(error.code).toBe('NO_HUGEPAGES');
    expect(error.message).toBe(
      `3 huge pages of 2 MiB: fallocate failed (No space left on device), and of ${total} reserved ones ${free} are free; ` +
        `reserve more: echo ${total + Math.max(0, 3 - free)} > ${RESERVE} (as root), or do without: hugepages: 'try'`,
    );
    expect(error.detail).toEqual({ pages: 3, total, free });
    expect(arena.used.dma).toBe(0);
    arena.close();
  });

  it('an arena that is full is called full, not poor in huge pages', () => {
    const arena = new Arena(native, { bytes: 1024 * 1024 });
    expect(thrown(() => arena.mapMemory(HUGE_PAGE, { huge: 'need' })).code).toBe('ARENA_FULL');
    expect(thrown(() => arena.mapMemory(HUGE_PAGE, { huge: 'try' })).code).toBe('ARENA_FULL');
    arena.close();
  });
});

/** Has the kernel reserve pages for these tests; returns how many are free then. */
function reserved(): number {
  try {
    const read = () => Number(readFileSync(RESERVE, 'utf8'));
    const before = read();
    writeFileSync(RESERVE, reserveHugePages(WANTED).split(' ')[1] as string);
    const added = read() - before;
    // Not `before`: other programs may have changed it meanwhile.
    afterAll(() => writeFileSync(RESERVE, String(Math.max(0, read() - added))));
  } catch {
    // Not root, or no such pages in this kernel.
  }
  return hugePages()?.free ?? 0;
}

const free = reserved();
const withHugePages = free >= WANTED ? describe : describe.skip;

withHugePages(
  `with huge pages${free >= WANTED ? '' : ' (skipped: only root can reserve them, and this kernel did not)'}`,
  () => {
    it('memory is made of them, at addresses that are multiples of theirs', () => {
      const arena = new Arena(native);
      const segment = arena.mapMemory(3 * HUGE_PAGE - 1, { huge: 'need' });
      expect(segment).toMatchObject({ huge: true, length: 3 * HUGE_PAGE });
      expect((native.addressRemainder(arena.u8, HUGE_PAGE) + segment.offset) % HUGE_PAGE).toBe(0);
      const [, size] =
        /memfd:linecard[\s\S]*?KernelPageSize:\s+(\d+) kB/.exec(readFileSync('/proc/self/smaps', 'utf8')) ?? [];
      expect(Number(size) * 1024).toBe(HUGE_PAGE);
      arena.u8.fill(1, segment.offset, segment.offset + segment.length);
      arena.unmap(segment);
      expect(arena.u8.subarray(segment.offset, segment.offset + segment.length).every((byte) => byte === 0)).toBe(true);
      expect(countFds('memfd:linecard')).toBe(0);
      arena.close();
    });

    it("a pool's frames lie in them, each at a multiple of its size", () => {
      const arena = new Arena(native);
      const pool = new FramePool(arena, { frames: 64, frameSize: 65_536, hugepages: 'need' });
      expect(pool.segment.huge).toBe(true);
      expect(pool.plan.base % 65_536).toBe(0);
      pool.close();
      arena.close();
    });

    it('more of them than are free are refused', () => {
      const arena = new Arena(native);
      // Many more: other programs may reserve some, or give some back, meanwhile.
      const pages = 1000;
      const error = thrown(() => arena.mapMemory(pages * HUGE_PAGE, { huge: 'need' }));
      expect(error.code).toBe('NO_HUGEPAGES');
      expect(error.message).toMatch(
        /^1000 huge pages of 2 MiB: fallocate failed \(.*\), and of \d+ reserved ones \d+ are free; reserve more: echo \d+ > /,
      );
      expect(arena.used.dma).toBe(0);
      arena.close();
    });

    it('an alignment that no huge page can have is refused', () => {
      const arena = new Arena(native);
      const base = native.addressRemainder(arena.u8, HUGE_PAGE);
      const align = HUGE_PAGE;
      if (base === 0) expect(arena.mapMemory(1, { huge: 'need', align }).offset % align).toBe(0);
      else
        expect(thrown(() => arena.mapMemory(1, { huge: 'need', align })).message).toContain(
          `none starts at a multiple of ${align}`,
        );
      arena.close();
    });
  },
);
