import { describe, expect, it } from 'vitest';
import { offeredFeatures } from '../../../lib/drivers/vhost/offer.ts';
import { featureNames, unmetFeatures } from '../../../lib/virtio/features.ts';

const WISHES = ['mergeable', 'packed', 'in-order', 'event-idx', 'indirect', 'csum'];

describe('What a vhost port offers', () => {
  it('B3: MUST NOT offer a feature without what it requires, whatever is left out', () => {
    for (let left = 0; left < 1 << WISHES.length; left++) {
      const wishes = Object.fromEntries(WISHES.map((name, i) => [name, (left & (1 << i)) === 0]));
      for (const pairs of [1, 2, 8]) expect(unmetFeatures(offeredFeatures(wishes, pairs)), `${left}`).toEqual([]);
    }
  });

  it('B30: VERSION_1 is always among it', () => {
    expect(featureNames(offeredFeatures({}, 1))).toContain('VERSION_1');
  });
});
