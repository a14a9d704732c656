import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Arena } from '../../../lib/arena/arena.ts';
import { memoryDevio } from '../../../lib/devios/memory.ts';
import { pcapDriver } from '../../../lib/drivers/pcap/device.ts';
import { FILE_ENUMERATOR_API, fileClass } from '../../../lib/enumerators/file.ts';
import { Framework } from '../../../lib/framework/framework.ts';
import { loadNative } from '../../../native/index.ts';
import { Blocks, file, frame } from '../../fakes/capture-files.ts';
import { temporaryFolder } from '../../fakes/folder.ts';
import { openFds } from '../../fakes/pcap-port.ts';
import { read } from '../../fakes/read-capture.ts';

const path = temporaryFolder();
const b = new Blocks(true);
const native = loadNative();

let arena: Arena;
let framework: Framework;

beforeEach(async () => {
  arena = new Arena(native, { bytes: 256 * 1024 * 1024 });
  framework = new Framework();
  framework.registerClass(fileClass());
  framework.registerDevio(memoryDevio(arena, FILE_ENUMERATOR_API));
  framework.registerDriver(pcapDriver(native));
  await framework.start();
});

afterEach(async () => {
  await framework.stop();
  expect(arena.mapped()).toEqual([]);
  arena.close();
});

function capture(name: string): string {
  writeFileSync(path(name), file(b.section(), b.interface(), b.packet(0, 0n, frame(60))));
  return path(name);
}

describe('A pcap port, through the framework,', () => {
  test('is found by its name, works on arena memory, and goes when it is released', async () => {
    const name = `pcap:${capture('in.pcapng')},out=${path('out.pcapng')}`;
    const fds = openFds();
    const device = await framework.request(name);
    expect(device).toMatchObject({ address: name, state: 'bound', driver: 'pcap', devio: { backend: 'arena' } });
    const port = device.pktio;
    await port?.start();
    expect(port?.queues.rx).toHaveLength(1);
    expect(port?.queues.tx[0].plan.module).toMatch(/drivers\/pcap\/queue\.ts$/);
    await framework.release(device);
    expect(port?.state).toBe('closed');
    expect(openFds()).toBe(fds);
    expect(existsSync(path('out.pcapng'))).toBe(true);
    const { error } = await read(new Uint8Array(readFileSync(path('out.pcapng'))));
    expect(error).toBeUndefined();
    await framework.release(await framework.request(name));
  });

  test('that cannot be opened says why, and leaves nothing', async () => {
    const fds = openFds();
    await expect(framework.request(`pcap:${path('none.pcap')}`)).rejects.toThrow(
      /none\.pcap cannot be opened: there is no such file/,
    );
    await expect(framework.request('pcap:x,speed=1')).rejects.toThrow(
      /no option "speed=1"; options are in, out, loops, timing/,
    );
    expect(openFds()).toBe(fds);
  });
});
