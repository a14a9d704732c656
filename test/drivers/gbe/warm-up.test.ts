import { expect, test } from 'vitest';
import { warmUp } from '../../../lib/drivers/gbe/queue.ts';
import { GbeWorld } from '../../fakes/gbe-world.ts';

test('The warm-up of gigabit controllers gives back every frame, and stays within a worker’s scratch area', async () => {
  const world = await GbeWorld.start({ frames: 512 });
  let bytes = 0;
  const scratch = (wanted: number) => {
    bytes += Math.ceil(wanted / 64) * 64;
    return world.fake.allocate(wanted);
  };
  warmUp({ ...world.context, scratch, kick: () => {} });
  expect(world.free.free.size).toBe(512);
  expect(bytes).toBeLessThan(512 * 1024);
  await world.stop();
});
