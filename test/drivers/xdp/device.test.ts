import { afterEach, expect, test, vi } from 'vitest';
import { type XdpOptions, XSK_API, type XskDevio } from '../../../lib/devios/xsk.ts';
import type { Xsk } from '../../../lib/devios/xsk-socket.ts';
import { xdpDriver } from '../../../lib/drivers/xdp/device.ts';
import { DevioError } from '../../../lib/errors.ts';
import type { Device } from '../../../lib/framework/types.ts';
import type { Pktio } from '../../../lib/pktio/types.ts';

const OPTIONS: XdpOptions = { firstQueue: 0, match: [], closed: false, busyPoll: false, force: false };
const place = { producer: 0, consumer: 64, flags: 128, first: 192, size: 64 };

/** An interface whose kernel grants what it is told to. */
function makeKernel({ mtu = 9000, sg = true, frags = true, options = {} as Partial<XdpOptions> } = {}) {
  const log: string[] = [];
  let next = 1024;
  const devio = {
    api: XSK_API,
    memory: new SharedArrayBuffer(0x10_0000),
    options: { ...OPTIONS, ...options },
    frames: { plan: { base: 0x8_0000, count: 4096, frameSize: 2048, headroom: 256, depot: 0, owners: 0 } },
    index: 7,
    link: () => ({ name: 'eth7', mtu, mac: '02:00:00:00:00:07', up: true, carrier: true, kind: '' }),
    queues: () => 2,
    channels: () => undefined,
    watch: () => {},
    refresh: async () => {},
    onLost: () => {},
    allocate(bytes: number) {
      const at = next;
      next += (bytes + 63) & ~63;
      return at;
    },
    free: () => {},
    async attach(several: boolean) {
      log.push(`attach ${several}`);
      const text = { what: 'loading', why: 'bpf failed with EINVAL', fix: 'none' };
      if (several && !frags) throw new DevioError('BPF_PROGRAM', text, { detail: { errno: 'EINVAL' } });
      return { mode: 'native' } as const;
    },
    async openQueue(queue: number, _: unknown, several: boolean): Promise<Xsk> {
      log.push(`open ${queue} ${several}`);
      const rings = { rx: place, tx: place, fill: place, completion: place };
      const common = {
        fd: 9,
        queue,
        zeroCopy: false,
        budget: 32,
        rings,
        failure: () => 0,
        statistics: () => ({}),
        close: () => {},
      };
      return { ...common, multiBuffer: several && sg };
    },
    closeQueue: ({ queue }: Xsk) => void log.push(`close ${queue}`),
    detach: () => void log.push('detach'),
    setPromiscuous: () => {},
  };
  return { log, devio: devio as unknown as XskDevio };
}

afterEach(() => {
  vi.useRealTimers();
});

const openOn = (devio: XskDevio): Pktio => xdpDriver().probe({ address: 'eth7' } as Device, devio, 0) as Pktio;

test('Where packets fit a frame nothing more is asked of the kernel', async () => {
  const { devio, log } = makeKernel({ mtu: 1774 });
  const port = openOn(devio);
  await port.start();
  expect(log).toEqual(['attach false', 'open 0 false']);
  expect(port.queues.rx[0]!.plan.data.segments).toBe(1);
  expect(port.notes!()).not.toContainEqual(expect.stringContaining('multi-buffer'));
});

test('Where they do not, program and socket are for packets of several frames, and the port says so', async () => {
  const { devio, log } = makeKernel({ mtu: 1775 });
  const port = openOn(devio);
  await port.start();
  expect(log).toEqual(['attach true', 'open 0 true']);
  for (const { plan } of [...port.queues.rx, ...port.queues.tx]) {
    expect(plan).toMatchObject({ maxLength: 1793, data: { segments: 17 } });
  }
  expect(port.notes!()[0]).toBe('eth7: XDP in native mode, copy mode, packets in several frames (multi-buffer)');
});

test.each([
  ['sockets', { sg: false }, /do not fit into frames with room for 1792, and the kernel has no multi-buffer AF_XDP/],
  ['programs', { frags: false }, /do not fit into frames with room for 1792, and the kernel has no XDP programs for/],
])(
  'A kernel without %s for such packets: the port is refused with what to do, and nothing is left',
  async (_, has, why) => {
    const { devio, log } = makeKernel(has);
    const port = openOn(devio);
    await expect(port.start()).rejects.toMatchObject({
      code: 'MTU_TOO_LARGE',
      message: expect.stringMatching(why),
    });
    await expect(port.start()).rejects.toThrow('lower its MTU (ip link set eth7 mtu 1774), or open the engine');
    expect(port.state).toBe('stopped');
    const opened = log.filter((line) => line.startsWith('open')).length;
    expect(log.filter((line) => line.startsWith('close')).length).toBe(opened);
    expect(log.at(-1)).not.toMatch(/^(open|attach)/);
  },
);

test('A program that is refused for another reason stays that error', async () => {
  const { devio } = makeKernel();
  const broken = { ...devio, attach: () => { throw new DevioError('BPF_PROGRAM', { what: 'a', why: 'b', fix: 'c' }, { detail: { errno: 'EPERM' } }); } }; // biome-ignore format: one thought
  await expect(openOn(broken as XskDevio).start()).rejects.toMatchObject({ code: 'BPF_PROGRAM' });
});

test('Zero-copy and nothing else: packets of several frames are refused before anything is opened', async () => {
  const { devio, log } = makeKernel({ options: { zeroCopy: true } });
  await expect(openOn(devio).start()).rejects.toMatchObject({ code: 'MTU_TOO_LARGE' });
  expect(log.filter((line) => /^(open|attach)/.test(line))).toEqual([]);
});

test('A kick that the kernel refuses for ever: the sockets are to be made anew, once a second at most', async () => {
  vi.useFakeTimers();
  const { devio, log } = makeKernel({ mtu: 1500 });
  const port = openOn(devio);
  const stuck: Error[] = [];
  const errors: [Error, boolean][] = [];
  port.on('stuck', (why) => stuck.push(why)).on('error', (error, fatal) => errors.push([error, fatal]));
  const refuse = async () => {
    new Int32Array(devio.memory, port.queues.tx[0]!.plan.data.refusal, 1)[0] = 22; // EINVAL
    await vi.advanceTimersByTimeAsync(200);
  };
  await port.start();
  await vi.advanceTimersByTimeAsync(2000);
  await refuse();
  expect([stuck, errors]).toEqual([[expect.objectContaining({ code: 'XSK_REFUSED' })], []]);
  log.length = 0;
  await port.renew!();
  expect(log.filter((line) => line !== 'detach')).toEqual(['close 0', 'attach false', 'open 0 false']);
  expect(port.extraStats!()).toEqual({ sockets_rebuilt: 1n });
  // Again at once: it would be so for ever.
  await refuse();
  expect(stuck.length).toBe(1);
  expect(errors).toEqual([[expect.objectContaining({ code: 'XSK_REFUSED' }), true]]);
  expect(port.extraStats!()).toEqual({ sockets_rebuilt: 1n });
  await port.close();
});
