import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, createWriteStream, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { pcapDriver } from '../../../lib/drivers/pcap/device.ts';
import { Blocks, file, frame, pcapFile } from '../../fakes/capture-files.ts';
import { temporaryFolder } from '../../fakes/folder.ts';
import { fakeDevio } from '../../fakes/memory-devio.ts';
import { FakeWorker, numbers, type OpenPort, openFds, openPcap, until } from '../../fakes/pcap-port.ts';
import { read } from '../../fakes/read-capture.ts';
import { run, testWith, tsharkFields } from '../../fakes/tools.ts';

const path = temporaryFolder();
const b = new Blocks(true);
const big = new Blocks(false);

/** Ports that a test left open. */
const ports: OpenPort[] = [];
afterEach(async () => {
  for (const { port } of ports.splice(0)) await port.close();
});

async function openPort(name: string, ...more: [locks?: Parameters<typeof openPcap>[1]]): Promise<OpenPort> {
  const opened = await openPcap(name, ...more);
  ports.push(opened);
  return opened;
}

async function startPort(name: string): Promise<OpenPort & { worker: FakeWorker }> {
  const opened = await openPort(name);
  await opened.port.start();
  return { ...opened, worker: new FakeWorker(opened) };
}

const packets = (count: number) => Array.from({ length: count }, (_, i) => frame(60 + ((i * 7) % 300), i));

/** Writes a capture with these packets; returns its path. */
function capture(name: string, list: readonly Uint8Array[]): string {
  const blocks = list.map((data, i) => b.packet(0, BigInt(i), data));
  writeFileSync(path(name), file(b.section(), b.interface(), ...blocks));
  return path(name);
}

function wrote(name: string, content: string | Uint8Array): string {
  writeFileSync(path(name), content);
  return path(name);
}

function folder(name: string): string {
  mkdirSync(path(name));
  return path(name);
}

const recorded = async (name: string) => (await read(new Uint8Array(readFileSync(path(name))))).packets;

test('A capture goes in, and comes out again packet by packet', async () => {
  const list = packets(3000);
  const name = `pcap:${capture('in.pcapng', list)},out=${path('out.pcapng')}`;
  const { port, worker, errors } = await startPort(name);
  expect(await worker.forwardAll()).toEqual(list);
  await port.flush();
  const bytes = list.reduce((sum, p) => sum + p.length, 0);
  expect(numbers(port.stats().rx)).toEqual({ packets: 3000, bytes, extra_frames: 0, runt: 0, oversize: 0 });
  expect(numbers(port.stats().tx)).toMatchObject({ packets: 3000, bytes, completed: 3000, io_error: 0, stopped: 0 });
  expect(worker.tx[0].reclaim()).toBe(0);
  await port.stop();
  expect(numbers(port.stats().tx)).toMatchObject({ packets: 3000, completed: 3000 });
  const out = await recorded('out.pcapng');
  expect(out.map((p) => p.data)).toEqual(list);
  expect(out.every((p) => p.direction === 2 && p.originalLength === p.data.length)).toBe(true);
  expect(out[0].timestamp).toBe(worker.clock.utcNs);
  expect(worker.stack.free.size).toBe(worker.frames);
  expect(errors).toEqual([]);
});

test.each([
  ['pcap-µs-big.pcap', pcapFile({ little: false, nano: false }, [{ seconds: 1, fraction: 2, data: frame(60) }])],
  ['pcap-ns-little.pcap', pcapFile({ little: true, nano: true }, [{ seconds: 1, fraction: 2, data: frame(60) }])],
  ['pcapng-big.pcapng', file(big.section(), big.interface(), big.packet(0, 5n, frame(60)))],
])('A port replays %s', async (name, bytes) => {
  writeFileSync(path(name), bytes);
  const { worker } = await startPort(`pcap:${path(name)}`);
  expect(await worker.forwardAll()).toEqual([frame(60)]);
});

describe('What other programs make of the output', () => {
  const list = packets(50);
  const record = async (name: string) => {
    const portName = `pcap:${capture(`${name}-in.pcapng`, list)},out=${path(name)}`;
    const { port, worker } = await startPort(portName);
    worker.clock.utcNs = 1_700_000_000_123_456_789n;
    await worker.forwardAll();
    await port.close();
    return { portName, file: path(name) };
  };

  testWith('tcpdump', 'tcpdump reads every packet', async () => {
    const { file: out } = await record('tcpdump.pcapng');
    const lines = run('tcpdump', '-n', '-tt', '--nano', '-r', out).split('\n');
    expect(lines.filter((line) => line.startsWith('1700000000.123456789 '))).toHaveLength(50);
  });

  testWith('capinfos', 'capinfos finds packets, interface, statistics and program', async () => {
    const { portName, file: out } = await record('capinfos.pcapng');
    const info = run('capinfos', '-M', out);
    expect(info).toMatch(/Number of packets:\s+50\n/);
    expect(info).toContain(`Name = ${portName}`);
    expect(info).toMatch(/Time precision = nanoseconds \(9\)/);
    expect(info).toMatch(/Number of stat entries = 1/);
    expect(info).toMatch(/Capture application:\s+linecard/);
  });

  testWith('tshark', 'tshark finds the bytes, the direction and the interface', async () => {
    const { portName, file: out } = await record('tshark.pcapng');
    const fields = tsharkFields(out, 'frame.len', 'frame.packet_flags_direction', 'frame.interface_name', 'data.data');
    expect(fields).toEqual(
      list.map((p) => [String(p.length), '0x00000002', portName, Buffer.from(p.subarray(14)).toString('hex')]),
    );
  });
});

describe('A port without output', () => {
  test('accepts what it is sent, and says that there was no file for it', async () => {
    const { port, worker } = await startPort(`pcap:${capture('only-in.pcapng', packets(5))}`);
    await worker.forwardAll();
    await port.flush();
    expect(numbers(port.stats().tx)).toMatchObject({ packets: 5, completed: 0, io_error: 0, no_output: 5 });
  });
});

describe('A port without input', () => {
  test('has finished from the start, and records', async () => {
    const { port, worker } = await startPort(`pcap:out=${path('only-out.pcapng')}`);
    expect(port.finished).toBe(true);
    expect(port.capability).toMatchObject({ patient: true, finite: true, interrupts: false });
    expect(worker.take()).toEqual([]);
    expect(worker.send(packets(3))).toBe(3);
    await port.stop();
    expect((await recorded('only-out.pcapng')).map((p) => p.data)).toEqual(packets(3));
  });
});

test('Only a port that replays for ever does not end by itself', async () => {
  const input = capture('finite.pcapng', packets(1));
  expect((await openPort(`pcap:${input},loops=3`)).port.capability.finite).toBe(true);
  expect((await openPort(`pcap:${input},loops=0`)).port.capability.finite).toBe(false);
});

describe('Starting again', () => {
  test('replays again, and appends a section to what was recorded', async () => {
    const list = packets(20);
    const { port, devio } = await openPort(`pcap:${capture('again.pcapng', list)},out=${path('again-out.pcapng')}`);
    for (let i = 0; i < 3; i++) {
      await port.start();
      const worker = new FakeWorker({ port, devio, errors: [] });
      expect(await worker.forwardAll()).toEqual(list);
      await port.stop();
    }
    expect((await recorded('again-out.pcapng')).map((p) => p.data)).toEqual([...list, ...list, ...list]);
    expect(numbers(port.stats().tx)).toMatchObject({ packets: 60, completed: 60 });
    const { interfaces } = await read(new Uint8Array(readFileSync(path('again-out.pcapng'))));
    expect(interfaces).toHaveLength(3);
  });

  test('by another port begins the file anew', async () => {
    for (const list of [packets(20), packets(2)]) {
      const { port, worker } = await startPort(`pcap:out=${path('anew.pcapng')}`);
      worker.send(list);
      await port.close();
      expect((await recorded('anew.pcapng')).map((p) => p.data)).toEqual(list);
    }
  });
});

test('What was accepted before stop is in the file, without a flush', async () => {
  const list = packets(200);
  const { port, worker } = await startPort(`pcap:out=${path('stop.pcapng')}`);
  expect(worker.send(list)).toBe(200);
  await port.stop();
  expect((await recorded('stop.pcapng')).map((p) => p.data)).toEqual(list);
});

test('Several tx queues record to one file', async () => {
  const opened = await openPort(`pcap:out=${path('queues.pcapng')}`);
  opened.port.configure({ txQueues: 3 });
  await opened.port.start();
  const worker = new FakeWorker(opened);
  for (let i = 0; i < 3; i++) worker.send(packets(10 + i), i);
  await opened.port.stop();
  expect(await recorded('queues.pcapng')).toHaveLength(33);
  expect(numbers(opened.port.stats().tx)).toMatchObject({ packets: 33, completed: 33 });
});

test('The MTU decides which packets of the file are frames, and which frames are written', async () => {
  const list = [frame(1518), frame(1519), frame(13), frame(14)];
  const opened = await openPort(`pcap:${capture('mtu.pcapng', list)},out=${path('mtu-out.pcapng')}`);
  await opened.port.start();
  const worker = new FakeWorker(opened);
  await worker.forwardAll();
  expect(numbers(opened.port.stats().rx)).toEqual({ packets: 2, bytes: 1532, extra_frames: 0, runt: 1, oversize: 1 });
  worker.send([frame(13), frame(1519)]);
  await opened.port.stop();
  expect(numbers(opened.port.stats().tx)).toMatchObject({ packets: 4, completed: 2, runt: 1, oversize: 1 });
  opened.port.configure({ mtu: 68 });
  await opened.port.start();
  await new FakeWorker(opened).forwardAll();
  expect(numbers(opened.port.stats().rx)).toMatchObject({ packets: 3, oversize: 3 });
});

test('A setting that a file has not is refused by name', async () => {
  const { port } = await openPort(`pcap:${capture('settings.pcapng', packets(1))}`);
  expect(() => port.configure({ rxQueues: 2 })).toThrow(/rxQueues/);
  expect(() => port.configure({ mtu: 65_001 })).toThrow(/mtu/);
});

describe('A broken input', () => {
  test('is reported with the byte offset after what precedes it was delivered, and the port goes on sending', async () => {
    const list = packets(100);
    const input = capture('broken.pcapng', list);
    const good = readFileSync(input);
    writeFileSync(input, file(good, new Uint8Array(10)));
    const { port, worker, errors } = await startPort(`pcap:${input},out=${path('broken-out.pcapng')}`);
    expect(await worker.forwardAll()).toEqual(list);
    await until(() => errors.length > 0);
    expect(errors).toMatchObject([
      { fatal: false, error: { code: 'CAPTURE_BAD_BLOCK', detail: { offset: good.length } } },
    ]);
    expect(errors[0].error.message).toContain(`byte ${good.length}`);
    expect(port.link().status).toBe('up');
    worker.send([frame(60)]);
    await port.stop();
    expect(await recorded('broken-out.pcapng')).toHaveLength(101);
  });
});

describe('An input that cannot be replayed is refused when the port is opened, with nothing leaked:', () => {
  const cases: [name: string, prepare: () => string, code: string, message: RegExp][] = [
    ['a file that does not exist', () => path('none.pcap'), 'CAPTURE_NOT_FOUND', /no such file.*; check the path/],
    ['a folder', () => folder('folder'), 'CAPTURE_NOT_A_FILE', /is a folder/],
    ['a text', () => wrote('text', 'hello, world'), 'CAPTURE_BAD_MAGIC', /byte 0: it starts with 68656c6c/],
    ['an empty file', () => wrote('empty', ''), 'CAPTURE_TRUNCATED', /it is empty/],
    [
      'packets that are not Ethernet',
      () => wrote('sll', pcapFile({ little: true, nano: false, linkType: 113 }, [])),
      'CAPTURE_LINKTYPE',
      /byte 20: its packets have link type 113/,
    ],
  ];
  test.each(cases)('%s', async (_name, prepare, code, message) => {
    const name = prepare();
    const fds = openFds();
    const error = await openPcap(`pcap:${name}`).catch((e) => e);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(error.message).toContain(name);
    expect(openFds()).toBe(fds);
  });

  test.skipIf(process.getuid?.() === 0)('a file without permission (skipped as root, who may)', async () => {
    chmodSync(capture('secret.pcapng', packets(1)), 0);
    await expect(openPcap(`pcap:${path('secret.pcapng')}`)).rejects.toMatchObject({ code: 'CAPTURE_DENIED' });
  });
});

describe('An output that cannot be written is refused when the port is started, with nothing leaked:', () => {
  const cases: [name: string, out: () => string, code: string, message: RegExp][] = [
    [
      'a file in no folder',
      () => path('none/out.pcapng'),
      'CAPTURE_NOT_FOUND',
      /cannot be opened: there is no such file or folder/,
    ],
    ['a folder', () => folder('out-folder'), 'CAPTURE_NOT_A_FILE', /is a folder/],
    [
      'a full disk',
      () => '/dev/full',
      'CAPTURE_DISK_FULL',
      /\/dev\/full cannot be written: no space is left.*; free some/,
    ],
  ];
  test.each(cases)('%s', async (_name, out, code, message) => {
    const fds = openFds();
    const { port, devio } = await openPcap(`pcap:out=${out()}`);
    await expect(port.start()).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(port.state).toBe('stopped');
    await port.close();
    expect(openFds()).toBe(fds);
    expect([...devio.allocated]).toEqual([]);
  });

  test('the input itself', async () => {
    const input = capture('same.pcapng', packets(3));
    const before = readFileSync(input);
    const { port } = await openPort(`pcap:${input},out=${input}`);
    await expect(port.start()).rejects.toMatchObject({ code: 'PORT_SAME_FILE' });
    expect(readFileSync(input).equals(before)).toBe(true);
  });

  test('a file on a system without locks', async () => {
    const locks = {
      flock: () => {
        throw Object.assign(new Error('No locks available'), { errno: -37, syscall: 'flock' });
      },
    };
    const { port } = await openPort(
      `pcap:${capture('nolock.pcapng', packets(1))},out=${path('nolock-out.pcapng')}`,
      locks,
    );
    await expect(port.start()).rejects.toMatchObject({
      code: 'PORT_NO_LOCK',
      message: expect.stringContaining('No locks available'),
    });
  });
});

describe('Two users of one file', () => {
  test('the second port that would write it is refused, and what the first wrote stays', async () => {
    const first = await startPort(`pcap:out=${path('shared.pcapng')}`);
    first.worker.send(packets(3));
    await first.port.flush();
    const second = await openPort(`pcap:out=${path('shared.pcapng')}`);
    await expect(second.port.start()).rejects.toMatchObject({
      code: 'PORT_BUSY',
      message: expect.stringMatching(/another port or engine is writing.*; name another file/),
    });
    expect(await recorded('shared.pcapng')).toHaveLength(3);
    await first.port.close();
    await second.port.start();
    await second.port.close();
    expect(await recorded('shared.pcapng')).toHaveLength(0);
  });

  test('an input that another port would overwrite is neither emptied nor lost', async () => {
    const [one, two] = [capture('one.pcapng', packets(4)), capture('two.pcapng', packets(5))];
    const before = [readFileSync(one), readFileSync(two)];
    const a = await openPort(`pcap:${one},out=${two}`);
    const c = await openPort(`pcap:${two},out=${one}`);
    for (const { port } of [a, c]) await expect(port.start()).rejects.toMatchObject({ code: 'PORT_BUSY' });
    expect([readFileSync(one), readFileSync(two)]).toEqual(before);
  });

  test('a file that is being written cannot be replayed', async () => {
    await startPort(`pcap:out=${path('writing.pcapng')}`);
    await expect(openPcap(`pcap:${path('writing.pcapng')}`)).rejects.toMatchObject({ code: 'PORT_BUSY' });
  });

  test('any number of ports may replay it', async () => {
    const input = capture('readers.pcapng', packets(5));
    const both = [await startPort(`pcap:${input}`), await startPort(`pcap:${input},loops=2`)];
    expect(await both[0].worker.forwardAll()).toHaveLength(5);
    expect(await both[1].worker.forwardAll()).toHaveLength(10);
  });

  testWith('flock', 'another process’s lock counts too', async () => {
    const out = path('other-process.pcapng');
    writeFileSync(out, 'theirs');
    const holder = spawn('flock', ['-x', out, 'sh', '-c', 'echo locked; read line'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    const { port } = await openPort(`pcap:out=${out}`);
    await expect(port.start()).rejects.toMatchObject({ code: 'PORT_BUSY' });
    expect(readFileSync(out, 'utf8')).toBe('theirs');
    holder.stdin.end('\n');
    await once(holder, 'exit');
    await port.start();
    expect(port.state).toBe('started');
  });
});

/** A file system of 64 KiB, where this user may mount one. */
function tinyDisk(name: string): string | undefined {
  mkdirSync(path(name));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path(name)]);
  return mounted.status === 0 ? path(name) : undefined;
}

describe('A disk that fills up', () => {
  const disk = tinyDisk('disk');
  afterEach(() => {
    if (disk !== undefined) spawnSync('umount', ['-l', disk]);
  });

  test.skipIf(disk === undefined)(
    'takes the port down: what was accepted is in the file or counted (skipped where tmpfs cannot be mounted)',
    async () => {
      const { port, devio, errors } = await openPort(`pcap:out=${disk}/out.pcapng`);
      const links: string[] = [];
      port.on('link', ({ status }) => links.push(status));
      await port.start();
      const worker = new FakeWorker({ port, devio, errors });
      let accepted = 0;
      await until(() => {
        accepted += worker.send(packets(64));
        return errors.length > 0;
      });
      await port.flush();
      expect(errors).toMatchObject([{ fatal: true, error: { code: 'CAPTURE_DISK_FULL' } }]);
      expect(errors[0].error.message).toMatch(/disk\/out\.pcapng cannot be written: no space is left.*; free some/);
      expect(links).toEqual(['down']);
      expect(port.link()).toMatchObject({ status: 'down', reason: errors[0].error.message });
      expect(worker.send(packets(3))).toBe(0);
      const { packets: taken, completed, io_error } = numbers(port.stats().tx);
      expect(taken).toBe(accepted);
      expect(completed + io_error).toBe(taken);
      expect(io_error).toBeGreaterThan(0);
      const { packets: written, error } = await read(new Uint8Array(readFileSync(`${disk}/out.pcapng`)));
      expect(error).toBeUndefined();
      expect(written).toHaveLength(completed);
      expect(statSync(`${disk}/out.pcapng`).size).toBeLessThanOrEqual(65_536);
      expect(worker.stack.free.size).toBe(worker.frames);
      await port.close();
    },
  );
});

describe('A pipe', () => {
  /** Starts a port as soon as its pipe has a reader. */
  async function startWithReader(port: OpenPort['port']): Promise<void> {
    for (const end = Date.now() + 5000; port.state !== 'started'; ) {
      const error = await port.start().catch((e) => e);
      if (error !== undefined && Date.now() > end) throw error;
    }
  }

  test('without a reader is refused, not waited for', async () => {
    run('mkfifo', path('unread.fifo'));
    const { port } = await openPort(`pcap:out=${path('unread.fifo')}`);
    await expect(port.start()).rejects.toMatchObject({ code: 'CAPTURE_NO_READER' });
  });

  test('can be replayed, once', async () => {
    run('mkfifo', path('in.fifo'));
    const { port, devio } = await openPort(`pcap:${path('in.fifo')}`);
    await port.start();
    const worker = new FakeWorker({ port, devio, errors: [] });
    expect(port.finished).toBe(false);
    const writer = createWriteStream(path('in.fifo'));
    writer.end(readFileSync(capture('fifo.pcapng', packets(50))));
    expect(await worker.forwardAll()).toEqual(packets(50));
    await port.stop();
    await expect(port.start()).rejects.toMatchObject({ code: 'PORT_READ_ONCE' });
  });

  test('that nobody writes to holds up nothing', async () => {
    run('mkfifo', path('silent.fifo'));
    const fds = openFds();
    const { port } = await openPcap(`pcap:${path('silent.fifo')}`);
    await port.start();
    await port.close();
    expect(openFds()).toBe(fds);
  });

  test('cannot be replayed in loops', async () => {
    run('mkfifo', path('loops.fifo'));
    const { port } = await openPort(`pcap:${path('loops.fifo')},loops=2`);
    await expect(port.start()).rejects.toMatchObject({ code: 'PORT_READ_ONCE' });
  });

  test('can be recorded to', async () => {
    run('mkfifo', path('out.fifo'));
    const reader = spawn('cat', [path('out.fifo')]);
    // It may have ended before the port has.
    const closed = once(reader, 'close');
    const chunks: Buffer[] = [];
    reader.stdout.on('data', (chunk) => chunks.push(chunk));
    const { port, devio } = await openPort(`pcap:out=${path('out.fifo')}`);
    await startWithReader(port);
    new FakeWorker({ port, devio, errors: [] }, 32, 2048).send(packets(1500));
    await port.close();
    await closed;
    const { packets: list, error } = await read(new Uint8Array(Buffer.concat(chunks)));
    expect(error).toBeUndefined();
    expect(list.map((p) => p.data)).toEqual(packets(1500));
  });

  test('whose reader leaves takes the port down', async () => {
    run('mkfifo', path('left.fifo'));
    const reader = spawn('cat', [path('left.fifo')]);
    reader.stdout.resume();
    const { port, devio, errors } = await openPort(`pcap:out=${path('left.fifo')}`);
    await startWithReader(port);
    reader.kill();
    await once(reader, 'exit');
    const worker = new FakeWorker({ port, devio, errors });
    expect(worker.send(packets(3))).toBe(3);
    await until(() => errors.length > 0);
    expect(errors).toMatchObject([{ fatal: true, error: { code: 'CAPTURE_NO_READER' } }]);
    expect(numbers(port.stats().tx)).toMatchObject({ packets: 3, completed: 0, io_error: 3 });
    await port.close();
  });
});

test('Nothing is left behind by a port that was closed: no descriptor, no memory', async () => {
  const name = `pcap:${capture('leak.pcapng', packets(300))},out=${path('leak-out.pcapng')},loops=0`;
  const fds = openFds();
  for (let i = 0; i < 5; i++) {
    const { port, devio, errors } = await openPcap(name);
    await port.start();
    const frames = new FakeWorker({ port, devio, errors });
    for (let n = 0; n < 10; n++) await frames.forward();
    await port.close();
    await port.close();
    // The frames are the test's own.
    expect(devio.allocated.size).toBe(1);
    expect(openFds()).toBe(fds);
  }
});

test('A start that fails for another reason leaves the output as it was', async () => {
  const out = wrote('kept.pcapng', 'what was there');
  run('mkfifo', path('kept.fifo'));
  const { port } = await openPort(`pcap:${path('kept.fifo')},loops=2,out=${out}`);
  await expect(port.start()).rejects.toMatchObject({ code: 'PORT_READ_ONCE' });
  expect(readFileSync(out, 'utf8')).toBe('what was there');
});

test('A devio of another kind is refused', async () => {
  const device = { address: 'pcap:x', facts: {} } as never;
  const other = { ...fakeDevio(), api: { name: 'devio-iommu', version: 1 } };
  await expect(async () => pcapDriver({ flock() {} }).probe(device, other, 0)).rejects.toMatchObject({
    code: 'WRONG_DEVIO',
  });
});
