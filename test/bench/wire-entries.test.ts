import { expect, test } from 'vitest';
import { roundTripEntries, wireEntries } from '../../bench/wire-entries.ts';

test('without wires everybody is absent for the same reason, and nobody is at fault', async () => {
  const means = { ground: 'needs root', testpmd: true } as const;
  const entries = [
    ...wireEntries(means),
    ...roundTripEntries('rtt', means, 'round-trips'),
    ...roundTripEntries('echo', means, 'round-trips'),
  ];
  expect(entries).toHaveLength(11);
  for (const { ours, open } of entries) {
    expect(ours).toBe(false);
    await expect(open()).rejects.toThrow('needs root');
  }
});
