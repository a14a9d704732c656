import { fileURLToPath } from 'node:url';
import { afterEach, expect } from 'vitest';
import { Arena } from '../../lib/arena/arena.ts';
import { FramePool } from '../../lib/arena/frame-pool.ts';
import type { XdpOptions } from '../../lib/devios/xsk.ts';
import { openSocket, openXsk, type RingSizes, type Xsk } from '../../lib/devios/xsk-socket.ts';
import { loadNative } from '../../native/index.ts';
import { countFds } from '../fakes/fds.ts';
import { dropWire, makeWire, sh, testAsRoot, type Wire, waitFor } from '../fakes/netns.ts';

const OPTIONS: XdpOptions = { firstQueue: 0, match: [], closed: false, busyPoll: false, force: false };
const SIZES: RingSizes = { rx: 64, fill: 64, tx: 64, completion: 64 };

const open: { wires: Wire[]; arenas: Arena[] } = { wires: [], arenas: [] };
afterEach(() => {
  for (const arena of open.arenas.splice(0)) arena.close();
  for (const wire of open.wires.splice(0)) dropWire(wire);
});

function world(queues = 1, pool: ConstructorParameters<typeof FramePool>[1] = {}, native = loadNative()) {
  const wire = makeWire(1, { queues });
  const arena = new Arena(native);
  open.wires.push(wire);
  open.arenas.push(arena);
  const frames = new FramePool(arena, { frames: 1024, ...pool });
  const index = Number(sh(`cat /sys/class/net/${wire.name}/ifindex`));
  const bind = (
    queue = 0,
    more: { options?: Partial<XdpOptions>; sharing?: Xsk; sizes?: Partial<RingSizes>; multiBuffer?: boolean } = {},
  ) =>
    openXsk(
      arena,
      frames,
      { name: wire.name, index, queue, socket: async () => openSocket(arena.native, false) },
      { ...SIZES, ...more.sizes },
      { ...OPTIONS, ...more.options },
      more.sharing,
      more.multiBuffer,
    );
  return { wire, arena, frames, bind };
}

testAsRoot('A socket has its rings in the arena, each index in its own cache line', async () => {
  const { arena, bind } = world();
  const xsk = await bind();
  for (const ring of Object.values(xsk.rings)) {
    expect(ring.size).toBe(64);
    for (const place of [ring.producer, ring.consumer, ring.flags, ring.first]) {
      expect(place).toBeGreaterThanOrEqual(2 ** 31);
      expect(place % 4).toBe(0);
    }
    expect(Math.abs(ring.producer - ring.consumer)).toBeGreaterThanOrEqual(64);
  }
  // Copy mode with need-wakeup: the tx ring's flag is set by the kernel in the memory that we see.
  expect(new Int32Array(arena.memory)[xsk.rings.tx.flags >>> 2]! & 1).toBe(1);
  expect(xsk.zeroCopy).toBe(false);
  xsk.close();
});

testAsRoot(
  'Sockets of several queues share the frames of one pool, also with a zero-copy wish that cannot be had',
  async () => {
    const { bind } = world(2);
    const first = await bind(0);
    const second = await bind(1, { sharing: first });
    expect([first.queue, second.queue]).toEqual([0, 1]);
    first.close();
    expect(Object.values(second.statistics())).toEqual([0n, 0n, 0n, 0n, 0n, 0n]);
    second.close();
  },
);

testAsRoot('An interface that vanishes leaves an error in its socket, once; poll would not tell', async () => {
  const { wire, bind } = world();
  const xsk = await bind();
  expect(xsk.failure()).toBe(0);
  sh(`ip link set ${wire.name} down`);
  sh(`ip link set ${wire.name} up`);
  expect(xsk.failure()).toBe(0);
  sh(`ip link del ${wire.name}`);
  await waitFor('the socket knows', () => xsk.failure() === 100); // ENETDOWN
  expect(xsk.failure()).toBe(0);
  xsk.close();
});

testAsRoot('A queue that another socket has is refused after a second, and the error names its owner', async () => {
  const { bind } = world();
  const first = await bind();
  const before = performance.now();
  await expect(bind()).rejects.toMatchObject({
    code: 'XSK_BIND',
    detail: { syscall: 'bind', errno: 'EBUSY' },
    message: expect.stringMatching(
      new RegExp(`another AF_XDP socket has this queue( \\(process ${process.pid}, .+\\))?: end its owner`),
    ),
  });
  expect(performance.now() - before).toBeGreaterThan(900);
  first.close();
});

testAsRoot('A queue that was just closed is bound again: the kernel frees it a little later', async () => {
  const { bind } = world();
  for (let round = 0; round < 20; round++) (await bind()).close();
});

testAsRoot('What is refused leaves nothing open or mapped', async () => {
  const { arena, bind } = world();
  const sockets = countFds('socket:');
  const used = arena.used;
  for (const refused of [
    bind(99),
    bind(0, { options: { zeroCopy: true } }),
    bind(0, { sizes: { rx: 100 } }),
    bind(0, { sizes: { completion: 0 } }),
  ]) {
    await expect(refused).rejects.toMatchObject({ code: expect.stringMatching(/^XSK_(BIND|RINGS)$/) });
  }
  expect(countFds('socket:')).toBe(sockets);
  expect(arena.used).toEqual(used);
});

testAsRoot('Frames that AF_XDP cannot use are refused with the sizes that it can', async () => {
  const { bind } = world(1, { frameSize: 1024 });
  await expect(bind()).rejects.toMatchObject({
    code: 'XSK_UMEM',
    message: expect.stringContaining('AF_XDP takes frames of 2048 or 4096 bytes'),
  });
});

testAsRoot('Without the right to open it, the error names the capability; without memory, the limit', () => {
  const script = fileURLToPath(new URL('../fakes/xdp-child.mjs', import.meta.url));
  const { wire } = world();
  const drop = (caps: string) => [
    'setpriv',
    `--bounding-set=${caps}`,
    `--inh-caps=${caps}`,
    process.execPath,
    script,
    'start',
    `xdp:${wire.name}`,
  ];
  expect(JSON.parse(sh(drop('-all')))).toMatchObject({
    ok: false,
    message: expect.stringMatching(/CAP_BPF and CAP_NET_ADMIN/),
  });
  expect(JSON.parse(sh(drop('-net_raw')))).toMatchObject({
    ok: false,
    code: 'XSK_SOCKET',
    message: expect.stringContaining('CAP_NET_RAW'),
  });
  const little = ['prlimit', '--memlock=65536:65536', ...drop('-ipc_lock')];
  expect(JSON.parse(sh(little))).toMatchObject({
    ok: false,
    code: 'XSK_UMEM',
    message: expect.stringMatching(/locked memory is limited to 65536 bytes.*CAP_IPC_LOCK/),
  });
});

testAsRoot('An ordinary user with the four capabilities, and no other, opens a port', () => {
  const script = fileURLToPath(new URL('../fakes/xdp-child.mjs', import.meta.url));
  const { wire } = world();
  const caps = ['net_raw', 'bpf', 'net_admin', 'ipc_lock'].map((cap) => `+${cap}`).join();
  const user = [
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    `--inh-caps=-all,${caps}`,
    `--ambient-caps=-all,${caps}`,
  ];
  const command = ['prlimit', '--memlock=65536:65536', 'setpriv', ...user, `--bounding-set=-all,${caps}`];
  const said = sh([...command, process.execPath, script, 'start', `xdp:${wire.name}`]);
  expect(JSON.parse(said)).toEqual({ ok: true });
  const without = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  expect(JSON.parse(sh([...without, process.execPath, script, 'start', `xdp:${wire.name}`]))).toMatchObject({
    ok: false,
  });
});

testAsRoot(
  'A socket for packets of several frames says that it is one; one that shares its frames is, too',
  async () => {
    const { bind } = world(2);
    const first = await bind(0, { multiBuffer: true });
    const second = await bind(1, { sharing: first, multiBuffer: true });
    const plain = await bind(0, {}).catch((error: unknown) => error);
    expect([first.multiBuffer, second.multiBuffer]).toEqual([true, true]);
    expect(plain).toMatchObject({ code: 'XSK_BIND', detail: { errno: 'EBUSY' } });
    first.close();
    second.close();
  },
);

testAsRoot(
  'A kernel that does not know them binds the socket for ordinary packets, and the socket says so',
  async () => {
    const native = loadNative();
    const asked: number[] = [];
    // As kernels before 6.6 answer to a flag that they do not know.
    const old = Object.assign(Object.create(native) as typeof native, {
      bind(fd: number, address: Uint8Array) {
        const flags = address[2]! | (address[3]! << 8);
        asked.push(flags);
        if ((flags & 16) !== 0) throw Object.assign(new Error('EINVAL'), { errno: -22, syscall: 'bind' });
        native.bind(fd, address);
      },
    });
    const { bind } = world(1, {}, old);
    const sockets = countFds('socket:');
    const xsk = await bind(0, { multiBuffer: true });
    expect(xsk.multiBuffer).toBe(false);
    expect(asked[0]! & 16).toBe(16);
    expect(countFds('socket:')).toBe(sockets + 1);
    xsk.close();
  },
);
