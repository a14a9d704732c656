import { describe, expect, it } from 'vitest';
import { engineSettings } from '../../lib/engine/settings.ts';
import type { EngineOptions } from '../../lib/engine/types.ts';
import { PlanError } from '../../lib/errors.ts';

const check = (options: Record<string, unknown>, env: NodeJS.ProcessEnv = {}) =>
  engineSettings(options as EngineOptions, env);

function refusal(options: Record<string, unknown>): PlanError {
  try {
    check(options);
  } catch (error) {
    expect(error).toBeInstanceOf(PlanError);
    return error as PlanError;
  }
  throw new Error('the options were accepted');
}

describe('engine options', () => {
  it('are all optional', () => {
    expect(check({})).toEqual({
      ...{ frames: 16_384, frameSize: 2048, headroom: 256, hugepages: 'no' },
      ...{ mode: 'adaptive', idleUs: 100, burst: 32, heapMb: 128 },
      ...{ stallMs: 2000, restartMs: [100, 5000], drainMs: 1000, inlining: true, debugFrames: false },
    });
  });

  it('are taken as they are given; undefined is absent', () => {
    const settings = check({ burst: 64, mode: undefined, cpus: [1], arenaBytes: 1 << 20 });
    expect(settings).toMatchObject({ burst: 64, mode: 'adaptive', cpus: [1], arenaBytes: 1 << 20 });
  });

  it('name the key that nobody knows, and those that there are', () => {
    const error = refusal({ burts: 32 });
    expect(error).toMatchObject({ code: 'BAD_OPTION', detail: { option: 'burts' } });
    expect(error.message).toMatch(/^engine option burts: there is no such option; options are frames, .*arenaBytes$/);
  });

  it.each(['__proto__', 'constructor', 'toString'])('do not take %s for one of theirs', (key) => {
    expect(refusal(JSON.parse(`{"${key}": 1}`))).toMatchObject({ code: 'BAD_OPTION', detail: { option: key } });
  });

  it.each([
    ['idleUs', -1],
    ['idleUs', 1_000_001],
    ['burst', 0],
    ['burst', 513],
    ['burst', 1.5],
    ['burst', '32'],
    ['stallMs', 499],
    ['drainMs', Number.POSITIVE_INFINITY],
    ['heapMb', 15],
    ['heapMb', Number.NaN],
    ['mode', 'lazy'],
    ['mode', null],
    ['restartMs', [0, 10]],
    ['restartMs', [10, 5]],
    ['restartMs', [1, Number.POSITIVE_INFINITY]],
    ['restartMs', [1]],
    ['restartMs', 100],
    ['restartMs', null],
    ['debugFrames', 'yes'],
    ['inlining', 1],
    ['cpus', 1],
  ])('refuse %s = %j', (key, value) => {
    expect(refusal({ [key]: value })).toMatchObject({ code: 'BAD_OPTION', detail: { option: key } });
  });

  it.each([
    ['idleUs', 0],
    ['idleUs', 1_000_000],
    ['burst', 1],
    ['burst', 512],
    ['drainMs', 0],
    ['restartMs', [5, 5]],
  ])('take %s = %j', (key, value) => {
    expect(check({ [key]: value })).toMatchObject({ [key]: value });
  });
});

describe('LINECARD_DEBUG', () => {
  it.each(['frames', 'x,frames', 'frames,x'])('%s tracks frames', (text) => {
    expect(check({ debugFrames: false }, { LINECARD_DEBUG: text }).debugFrames).toBe(true);
  });

  it.each([undefined, '', 'frame', 'x'])('%s does not', (text) => {
    expect(check({}, text === undefined ? {} : { LINECARD_DEBUG: text }).debugFrames).toBe(false);
  });
});
