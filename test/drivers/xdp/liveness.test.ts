import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Death } from '../../../lib/drivers/xdp/death.ts';
import { Liveness, type Living, withoutRoom } from '../../../lib/drivers/xdp/liveness.ts';
import type { Link } from '../../../lib/netlink/rtnetlink.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const ENETDOWN = 100;
const ENXIO = 6;
const EINVAL = 22;
const LONG_MS = 3000;

/** A started port whose parts can be made to fail. */
function makePort() {
  const memory = new SharedArrayBuffer(64);
  const state = { errno: 0, refusal: new Int32Array(memory, 8, 1), program: 7, gone: false, several: false, large: 0n };
  const deaths: Death[] = [];
  const cut: bigint[] = [];
  const link = () =>
    ({
      name: 'eth7',
      xdp: state.several ? 'several' : state.program === 0 ? 'none' : 'native',
      xdpProgram: state.program,
    }) as Link;
  const living: Living = {
    memory,
    sockets: [{ failure: () => 0 }, { failure: () => state.errno }],
    refusals: [4, 8],
    tooLarge: () => state.large,
    link: () => (state.gone ? undefined : link()),
    refresh: async () => {},
  };
  const liveness = new Liveness(
    living,
    (death) => deaths.push(death),
    (packets) => cut.push(packets),
  );
  return { state, deaths, cut, liveness };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

test('A port that is well is left alone', async () => {
  const { deaths, liveness } = makePort();
  await pass(LONG_MS);
  expect(deaths).toEqual([]);
  liveness.stop();
  expect(vi.getTimerCount()).toBe(0);
});

test('A socket with an error has lost its interface: told within 200 ms, once', async () => {
  const { state, deaths } = makePort();
  await pass(1000);
  state.errno = ENETDOWN;
  await pass(200);
  const why = 'its socket has lost its interface (ENETDOWN)';
  expect(deaths).toEqual([{ code: 'PORT_LOST', why, fix: expect.any(String) }]);
  await pass(1000);
  expect([deaths.length, vi.getTimerCount()]).toEqual([1, 0]);
});

test('Whoever knows better why may say so first: a port that was stopped meanwhile tells nothing', async () => {
  const { state, deaths, liveness } = makePort();
  state.errno = ENETDOWN;
  await pass(100);
  liveness.stop();
  await pass(1000);
  expect(deaths).toEqual([]);
});

test.each([
  [ENXIO, 'PORT_LOST', 'its socket has lost its interface (ENXIO)'],
  [EINVAL, 'XSK_REFUSED', 'the kernel refuses to send what is in its tx ring (EINVAL)'],
])('A kick that ended with %d ends the port as %s', async (errno, code, why) => {
  const { state, deaths } = makePort();
  state.refusal[0] = errno;
  await pass(200);
  expect(deaths).toEqual([{ code, why, fix: expect.any(String) }]);
});

test.each([
  [0, 'its XDP program was taken off eth7 by somebody else'],
  [9, 'its XDP program was taken off eth7 by somebody else, and program 9 is there instead (bpftool prog show id 9)'],
])('A program that somebody has taken off is missed within a second: now %d', async (program, why) => {
  const { state, deaths } = makePort();
  await pass(1000);
  state.program = program;
  await pass(1000);
  expect(deaths).toEqual([{ code: 'XDP_DETACHED', why, fix: expect.any(String) }]);
});

test('Programs beside ours, and an interface that nobody knows any more, are others’ to tell of', async () => {
  for (const what of ['several', 'gone'] as const) {
    const { state, deaths, liveness } = makePort();
    await pass(1000);
    state[what] = true;
    await pass(2000);
    expect(deaths).toEqual([]);
    liveness.stop();
  }
});

test('Packets that had no room in a frame are told of once; nobody dies of them', async () => {
  const { state, deaths, cut, liveness } = makePort();
  await pass(1000);
  expect(cut).toEqual([]);
  state.large = 3n;
  await pass(100);
  state.large = 9n;
  await pass(1000);
  expect([cut, deaths]).toEqual([[3n], []]);
  expect(withoutRoom({ rx_dropped: 9n, rx_fill_ring_empty_descs: 4n })).toBe(5n);
  liveness.stop();
});

test('A look that ends after the port was stopped tells nothing', async () => {
  const { state, deaths, liveness } = makePort();
  state.program = 0;
  await pass(300);
  const looking = pass(100);
  liveness.stop();
  await looking;
  await pass(2000);
  expect(deaths).toEqual([]);
});
