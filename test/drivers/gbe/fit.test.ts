/** How a gigabit controller is told to fill frames. */
import { describe, expect, test } from 'vitest';
import { type Fit, fitBuffers } from '../../../lib/drivers/gbe/fit.ts';
import { codeOf } from '../../fakes/errors.ts';

const fit = (mtu: number, frameSize: number, more: Partial<Fit> = {}, headroom = 256) =>
  fitBuffers({
    ...{ name: '0000:01:00.0', mtu, rxQueues: 1, rxRing: 64, limitsLength: false, small: true },
    pool: { count: 512, frameSize, headroom },
    ...more,
  });

describe('Buffers', () => {
  test('are ordinary ones as long as the device drops what is longer than a standard packet', () => {
    expect(fit(1500, 2048)).toEqual({ told: 2048, bytes: 1522, long: false, segments: 1 });
    expect(fit(68, 4096)).toEqual({ told: 2048, bytes: 1522, long: false, segments: 1 });
  });

  test('are never larger than what frames have room for when packets may be long', () => {
    expect(fit(9000, 2048)).toEqual({ told: 1024, bytes: 1024, long: true, segments: 64 });
    expect(fit(9000, 4096)).toEqual({ told: 3072, bytes: 3072, long: true, segments: 64 });
    expect(fit(9000, 16_384)).toEqual({ told: 15_360, bytes: 15_360, long: true, segments: 1 });
    expect(fit(2000, 4096)).toEqual({ told: 3072, bytes: 3072, long: true, segments: 1 });
  });

  test('of a device that drops what is longer than it is told may be told of more than there is', () => {
    expect(fit(1700, 2048, { limitsLength: true })).toEqual({ told: 2048, bytes: 1722, long: true, segments: 1 });
    expect(fit(3800, 4096, { limitsLength: true })).toEqual({ told: 4096, bytes: 3822, long: true, segments: 1 });
    expect(fit(9000, 2048, { limitsLength: true })).toMatchObject({ told: 1024, segments: 64 });
  });

  test('may be small where frames are', () => {
    expect(fit(1500, 1024)).toEqual({ told: 512, bytes: 512, long: false, segments: 64 });
    expect(fit(200, 512)).toEqual({ told: 256, bytes: 256, long: false, segments: 1 });
    expect(codeOf(() => fit(1500, 1024, { small: false }))).toBe('BAD_FRAME_SIZE');
  });

  test('are refused when packets would lie in several frames though one has room, or in too many', () => {
    expect(codeOf(() => fit(1700, 2048))).toBe('MTU_TOO_LARGE');
    expect(() => fit(1700, 2048)).toThrow('lower the MTU to 1500');
    expect(() => fit(1100, 2048, {}, 768)).toThrow('lower the MTU to 1006');
    expect(codeOf(() => fit(9000, 512, { rxRing: 32 }))).toBe('MTU_TOO_LARGE');
  });

  test('are refused when rings would hold all frames', () => {
    expect(codeOf(() => fit(1500, 2048, { rxQueues: 2, rxRing: 256 }))).toBe('POOL_TOO_SMALL');
  });
});
