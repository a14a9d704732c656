import { afterAll, beforeAll, describe, expect } from 'vitest';
import { Guest } from './guest.ts';
import { testWithGuest } from './tests.ts';

describe('A guest', () => {
  let guest: Guest;
  beforeAll(async () => {
    guest = await Guest.boot();
  }, 240_000);
  afterAll(() => guest?.close());

  testWithGuest('runs commands, one after the other, with Debian’s kernel', async () => {
    const [kernel, answer] = await Promise.all([guest.run('uname -sr'), guest.try('echo a; echo b >&2; exit 3')]);
    expect(kernel).toMatch(/^Linux 6\.1\./);
    expect(answer).toEqual({ status: 3, output: 'a\nb\n' });
    await expect(guest.run('false')).rejects.toThrow('false ended with 1');
  });
});
