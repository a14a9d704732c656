import { describe, expect, test } from 'vitest';
import { type NumberFile, reserveHugepages } from '../../bench/hugepages.ts';

/** A kernel's count that grants at most `limit` pages. */
function kernel(start: number, limit: number): NumberFile & { count: number } {
  return {
    count: start,
    read() {
      return this.count;
    },
    write(value) {
      this.count = Math.min(value, limit);
    },
  };
}

describe('reserveHugepages', () => {
  test('reserves where there are none, and gives them back once', () => {
    const file = kernel(0, 1000);
    const pages = reserveHugepages(512, file);
    expect(pages.available).toBe(true);
    expect(file.count).toBe(512);
    pages.release();
    expect(file.count).toBe(0);
    file.count = 7; // somebody else's by now
    pages.release();
    expect(file.count).toBe(7);
  });

  test('leaves what somebody has reserved as it is', () => {
    const file = kernel(600, 1000);
    const pages = reserveHugepages(512, file);
    expect(pages.available).toBe(true);
    pages.release();
    expect(file.count).toBe(600);
  });

  test('gives up, and gives back, when there is not enough memory', () => {
    const file = kernel(0, 100);
    expect(reserveHugepages(512, file).available).toBe(false);
    expect(file.count).toBe(0);
  });

  test('does without when it may not write', () => {
    const file: NumberFile = {
      read: () => 0,
      write: () => {
        throw new Error('EACCES');
      },
    };
    const pages = reserveHugepages(512, file);
    expect(pages.available).toBe(false);
    pages.release();
  });
});
