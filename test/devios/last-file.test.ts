import { describe, expect, it } from 'vitest';
import { duplicateAbove } from '../../lib/devios/last-file.ts';
import { loadNative } from '../../native/index.ts';
import { countFds } from '../fakes/fds.ts';

describe('The file that is closed first', () => {
  it('is a duplicate with a number above the others, and leaves no other behind', () => {
    const native = loadNative();
    const before = countFds('eventfd');
    const [file, ...others] = Array.from({ length: 20 }, () => native.eventfd());
    // Lower numbers become free.
    for (const one of others.splice(0, 10)) native.close(one);
    const made = duplicateAbove(native, file!, others);
    expect(made).toBeGreaterThan(Math.max(...others));
    expect(countFds('eventfd')).toBe(before + 1 + others.length + 1);
    const set = native.epollCreate();
    native.epollAdd(set, made);
    native.notify(file!);
    expect(native.epollWait(set, 0)).toBe(1);
    for (const one of [set, made, file!, ...others]) native.close(one);
    expect(countFds('eventfd')).toBe(before);
  });

  it('leaves nothing behind when it cannot be made', () => {
    const native = loadNative();
    const before = countFds('eventfd');
    const failing = {
      ...native,
      replaceFd: () => {
        throw new Error('no');
      },
    };
    expect(() => duplicateAbove(failing, 0, [1])).toThrow('no');
    expect(countFds('eventfd')).toBe(before);
  });
});
