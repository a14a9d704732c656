import { expect, test } from 'vitest';
import { warmUp as warmPacked } from '../../../lib/drivers/virtio-net/packed-queue.ts';
import { warmUp as warmSplit } from '../../../lib/drivers/virtio-net/split-queue.ts';
import { VirtioWorld } from '../../fakes/virtio-queues.ts';

test.each([
  ['split', warmSplit],
  ['packed', warmPacked],
])('The warm-up over %s rings gives back every frame, and stays within a worker’s scratch area', (_, warmUp) => {
  const world = new VirtioWorld({ frames: 512 });
  let bytes = 0;
  const scratch = (wanted: number) => {
    bytes += Math.ceil(wanted / 64) * 64;
    return world.scratch(wanted);
  };
  warmUp({ ...world.context, scratch });
  expect(world.free.free.size).toBe(512);
  expect(bytes).toBeLessThan(512 * 1024);
});
