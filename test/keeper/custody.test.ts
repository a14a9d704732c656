/** What is done with what a dead engine has left, and in which order. */
import { describe, expect, it } from 'vitest';
import { Custody } from '../../lib/keeper/custody.ts';
import { type Backend, KEEPER_VERSION } from '../../lib/keeper/protocol.ts';
import { thrown } from '../fakes/errors.ts';
import { FakeHands, type FakeKept } from '../fakes/keeper.ts';

const [A, B] = ['0000:01:00.0', '0000:02:00.0'];
const HELLO = { type: 'hello', version: KEEPER_VERSION } as const;
const given = (address: string, backend: Backend = 'vfio') =>
  ({ type: 'function', address, backend, position: 0 }) as const;

/** Two functions, with files 10 and 20, and memory 1 and 2 with fds 31 and 32. */
function world(made: Readonly<Record<string, FakeKept>> = {}, backend: Backend = 'vfio') {
  const hands = new FakeHands();
  for (const [address, kept] of Object.entries(made)) hands.made.set(address, kept);
  const custody = new Custody(hands);
  custody.take(HELLO, []);
  custody.take({ type: 'memory', ids: [1, 2] }, [31, 32]);
  custody.take(given(A, backend), backend === 'uio' ? [10, 11] : [10]);
  custody.take(given(B, backend), backend === 'uio' ? [20, 21] : [20]);
  return { hands, custody };
}

describe('When an engine has died', () => {
  it('all functions stop, then are reset, then closed; only then its memory goes', () => {
    const { hands, custody } = world();
    const settled = custody.settle();
    expect(hands.log).toEqual([
      ...['01 bus master off', '02 bus master off', '01 reset', '02 reset', '01 close 10', '02 close 20'],
      ...['close 31', 'close 32'],
    ]);
    expect(settled).toEqual([
      { address: A, backend: 'vfio', stoppedMs: 1, resetMs: 3, releasedMs: 5, errors: [], stuck: false },
      { address: B, backend: 'vfio', stoppedMs: 2, resetMs: 4, releasedMs: 5, errors: [], stuck: false },
    ]);
    expect(custody.settle()).toEqual([]);
    expect(hands.log).toHaveLength(8);
  });

  it('without an IOMMU, their duplicates that close first are closed with them, before the memory', () => {
    const { hands, custody } = world({}, 'uio');
    hands.log.splice(0);
    custody.settle();
    expect(hands.log.slice(4)).toEqual([
      'close 1001',
      '01 close 10 11',
      'close 1002',
      '02 close 20 21',
      'close 31',
      'close 32',
    ]);
  });

  it('one that has no reset is stopped all the same', () => {
    const { hands, custody } = world({ [A]: { resettable: false } });
    const [first] = custody.settle();
    expect(first).toMatchObject({ stoppedMs: 1, errors: [], stuck: false });
    expect(first).not.toHaveProperty('resetMs');
    expect(hands.log).not.toContain('01 reset');
  });

  it.each([
    ['it has been removed', { absence: 'it has been removed' }],
    ['it does not answer any more', { gone: true }],
  ])('one that is not there any more is not touched: %s', (left, made) => {
    const { hands, custody } = world({ [A]: made });
    expect(custody.settle()[0]).toMatchObject({ address: A, left, errors: [], stuck: false });
    expect(hands.log.filter((line) => line.startsWith('01'))).toEqual(['01 close 10']);
    expect(hands.log.at(-1)).toBe('close 32');
  });

  it('a reset that fails holds up nothing: bus master is off', () => {
    const error = new Error('no');
    const { hands, custody } = world({ [A]: { resetFails: error } });
    const [first, second] = custody.settle();
    expect(first).toMatchObject({ errors: [error], stuck: false });
    expect(second).toMatchObject({ errors: [], resetMs: expect.any(Number) });
    expect(hands.log.slice(-2)).toEqual(['close 31', 'close 32']);
  });

  it('a file that cannot be closed holds up nothing', () => {
    const error = new Error('no');
    const { hands, custody } = world({ [A]: { closeFails: error } });
    expect(custody.settle()[0]!.errors).toEqual([error]);
    expect(hands.log.slice(-3)).toEqual(['02 close 20', 'close 31', 'close 32']);
  });

  it('one that a reset alone stops is stopped', () => {
    const { hands, custody } = world({ [A]: { sticky: 'reset' } });
    const [first] = custody.settle();
    expect(first).toMatchObject({ stuck: false, errors: [{ code: 'NOT_STOPPED' }] });
    expect(hands.log.at(-1)).toBe('close 32');
  });

  it('the memory of one that nothing stops is given to nobody', () => {
    const { hands, custody } = world({ [A]: { sticky: 'ever' } });
    const [first, second] = custody.settle();
    expect(first).toMatchObject({ stuck: true, errors: [{ code: 'NOT_STOPPED' }, { code: 'NOT_STOPPED' }] });
    expect(second).toMatchObject({ stuck: false });
    expect(hands.log).not.toContain('close 31');
    expect(hands.log).toContain('01 close 10');
  });
});

describe('While the engine lives', () => {
  it('what it gives back is closed, and not touched after its death', () => {
    const { hands, custody } = world();
    custody.take({ type: 'release', number: 1, address: A }, []);
    custody.take({ type: 'forget', ids: [2, 99] }, []);
    expect(hands.log).toEqual(['01 close 10', 'close 32']);
    expect(custody.addresses).toEqual([B]);
    expect(custody.settle().map(({ address }) => address)).toEqual([B]);
  });

  it('without an IOMMU, each function’s file is closed before the memory, whatever comes later', () => {
    const { hands, custody } = world({}, 'vfio-noiommu');
    custody.take({ type: 'memory', ids: [3] }, [33]);
    expect(hands.log).toEqual([
      'duplicate 10 above 31 32 as 1001',
      'duplicate 20 above 31 32 as 1002',
      'duplicate 10 above 31 32 33 as 1003',
      'close 1001',
      'duplicate 20 above 31 32 33 as 1004',
      'close 1002',
    ]);
  });

  it.each([
    ['a greeting twice', HELLO, [], 'KEEPER_PROTOCOL'],
    ['memory without fds', { type: 'memory', ids: [3, 4] }, [5], 'KEEPER_PROTOCOL'],
    ['memory that it has', { type: 'memory', ids: [1] }, [5], 'KEEPER_PROTOCOL'],
    ['a function that it has', given(A), [5], 'KEEPER_PROTOCOL'],
    ['a function without its file', given('0000:03:00.0'), [], 'KEEPER_PROTOCOL'],
    ['a function with too many', given('0000:03:00.0'), [5, 6, 7], 'KEEPER_PROTOCOL'],
    ['fds that belong to nothing', { type: 'forget', ids: [1] }, [5, 6], 'KEEPER_PROTOCOL'],
  ] as const)('%s is refused, and its fds are closed', (_, message, fds, code) => {
    const { hands, custody } = world();
    expect(thrown(() => custody.take(message, fds)).code).toBe(code);
    expect(hands.log).toEqual(fds.map((fd) => `close ${fd}`));
  });

  it('an engine of another version, or that does not greet, is refused', () => {
    const custody = new Custody(new FakeHands());
    expect(thrown(() => custody.take({ type: 'memory', ids: [1] }, [5])).code).toBe('KEEPER_PROTOCOL');
    expect(thrown(() => custody.take({ type: 'hello', version: 99 }, [])).code).toBe('KEEPER_VERSION');
  });
});
