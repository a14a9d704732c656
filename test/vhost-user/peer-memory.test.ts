/** Windows over a peer's files: pieces, huge pages, room, and files that are made shorter. */
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { reserve } from '../../lib/arena/reserve.ts';
import { checkSignal, checkSocket, peerFile } from '../../lib/vhost-user/peer-file.ts';
import { PeerMemory, WINDOW_BYTES } from '../../lib/vhost-user/peer-memory.ts';
import { loadNative } from '../../native/index.ts';
import { codeOf } from '../fakes/errors.ts';
import { temporaryFolder } from '../fakes/folder.ts';

const native = loadNative();
const inFolder = temporaryFolder();
const GIB = 2 ** 30;

/** A file without seals, and without blocks: as large as one likes. */
function sparse(name: string, bytes: number): number {
  const fd = openSync(inFolder(name), 'w+');
  ftruncateSync(fd, bytes);
  return fd;
}

describe('peer memory', () => {
  it('has windows of 2 GiB, one more than the memory fills, whose offset 0 is nobody’s', () => {
    const memory = new PeerMemory(native, 8);
    expect(memory.windows).toHaveLength(5);
    expect(memory.windows[0]?.byteLength).toBe(WINDOW_BYTES);
    const fd = sparse('a', 4096);
    const { pieces, parts } = memory.map(peerFile(fd), 0, 4096);
    expect(pieces).toEqual([{ window: 0, offset: 65_536, from: 0, bytes: 4096 }]);
    memory.unmap({ pieces, parts });
    expect(memory.used).toBe(0);
    closeSync(fd);
  });

  it('splits a region that is larger than a window; pieces overlap by more than a ring', () => {
    const memory = new PeerMemory(native, 8);
    const bytes = 5 * GIB;
    const fd = sparse('large', bytes + 4096);
    const marks = [0, 3 * GIB, 4 * GIB + 12_345 * 8, bytes - 8].map((at) => at + 4096);
    for (const mark of marks) writeSync(fd, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), 0, 8, mark);
    const mapping = memory.map(peerFile(fd), 4096, bytes);
    expect(mapping.pieces.length).toBeGreaterThan(2);
    expect(new Set(mapping.pieces.map(({ window }) => window)).size).toBe(mapping.pieces.length);
    let end = 0;
    for (const { from, offset, bytes: length } of mapping.pieces) {
      if (from > 0) expect(end - from).toBeGreaterThanOrEqual(512 * 1024);
      expect(offset + length).toBeLessThanOrEqual(WINDOW_BYTES);
      end = from + length;
    }
    expect(end).toBe(bytes);
    for (const mark of marks) {
      const at = mark - 4096;
      const piece = mapping.pieces.find((p) => at >= p.from && at + 8 <= p.from + p.bytes)!;
      expect([...new Uint8Array(memory.windows[piece.window]!, piece.offset + at - piece.from, 8)]).toEqual([
        1, 2, 3, 4, 5, 6, 7, 8,
      ]);
    }
    memory.unmap(mapping);
    expect(memory.used).toBe(0);
    closeSync(fd);
  });

  it('refuses more than there is room for, and then has mapped nothing', () => {
    const memory = new PeerMemory(native, 1);
    const fd = sparse('too-large', 5 * GIB);
    expect(codeOf(() => memory.map(peerFile(fd), 0, 5 * GIB))).toBe('VHOST_NO_ROOM');
    expect(memory.used).toBe(0);
    closeSync(fd);
  });

  it('keeps the places of bytes in their pages', () => {
    const memory = new PeerMemory(native, 1);
    const fd = sparse('odd', 65_536);
    const mapping = memory.map(peerFile(fd), 4096 + 64, 128);
    expect(mapping.pieces[0]!.offset % 4096).toBe(64);
    expect(mapping.pieces[0]!.bytes).toBe(128);
    memory.unmap(mapping);
    closeSync(fd);
  });

  it('maps huge pages where huge pages can begin', (context) => {
    const pages = '/sys/kernel/mm/hugepages/hugepages-2048kB';
    if (process.getuid?.() !== 0) context.skip('needs root, to reserve huge pages');
    const before = readFileSync(`${pages}/nr_hugepages`, 'utf8');
    const wanted = `${Number(before) + 4}\n`;
    writeFileSync(`${pages}/nr_hugepages`, wanted);
    const theirs = new Uint8Array(reserve(16 * 1024 * 1024).buffer);
    const huge = 2 ** 21;
    const offset = (huge - native.addressRemainder(theirs, huge)) % huge;
    const fd = native.mapMemory(theirs, offset, 2 * huge, true);
    theirs[offset + huge + 5] = 55;
    const file = peerFile(fd);
    expect(file.page).toBe(huge);
    const memory = new PeerMemory(native, 1);
    // A region need not begin where a huge page does.
    const mapping = memory.map(file, huge - 4096, 8192);
    const [piece] = mapping.pieces;
    expect(piece!.bytes).toBe(8192);
    expect(new Uint8Array(memory.windows[piece!.window]!)[piece!.offset + 4096 + 5]).toBe(55);
    memory.unmap(mapping);
    native.unmap(theirs, offset, 2 * huge);
    closeSync(fd);
    if (readFileSync(`${pages}/nr_hugepages`, 'utf8') === wanted) writeFileSync(`${pages}/nr_hugepages`, before);
  });

  it('does not take memory that the peer has not used', () => {
    const memory = new PeerMemory(native, 4);
    const fd = sparse('unused', 4 * GIB);
    const before = process.memoryUsage.rss();
    const mapping = memory.map(peerFile(fd), 0, 4 * GIB);
    expect(process.memoryUsage.rss() - before).toBeLessThan(64 * 1024 * 1024);
    memory.unmap(mapping);
    closeSync(fd);
  });

  it('survives a file that is made shorter, a thousand times, and says that it was', () => {
    const memory = new PeerMemory(native, 1);
    const fd = sparse('shrinks', 65_536);
    const view = (window: number) => new Uint8Array(memory.windows[window]!);
    for (let i = 0; i < 1000; i++) {
      ftruncateSync(fd, 65_536);
      const mapping = memory.map(peerFile(fd), 0, 65_536);
      const { window, offset } = mapping.pieces[0]!;
      const bytes = view(window);
      bytes[offset + 8192] = 1;
      expect(memory.faulted(mapping)).toBe(false);
      ftruncateSync(fd, 0);
      if (i % 2 === 0) expect(bytes[offset + 8192]).toBe(0);
      else bytes[offset + 40_000] = 7;
      expect(memory.faulted(mapping)).toBe(true);
      memory.unmap(mapping);
    }
    closeSync(fd);
  });

  it('a bus error that is not a peer’s ends the process as before', () => {
    const script = `
      const { writeFileSync, openSync, ftruncateSync } = require('node:fs');
      const native = require(${JSON.stringify(new URL('../../build/Release/linecard.node', import.meta.url).pathname)});
      const memory = new Uint8Array(new WebAssembly.Memory({ initial: 4, maximum: 4, shared: true }).buffer);
      const fd = openSync(${JSON.stringify(inFolder('other'))}, 'w+');
      ftruncateSync(fd, 8192);
      const guard = native.mapPeer(memory, 0, 4096, fd, 0);
      native.mapFd(memory, 65536, 8192, fd, 0, true);
      ftruncateSync(fd, 0);
      process.stdout.write(String(memory[5]));
      process.stdout.write(String(native.peerFaulted(guard)));
      memory[65536 + 4096];
      process.stdout.write('alive');`;
    let died: { signal?: string; stdout?: Buffer } = {};
    try {
      execFileSync(process.execPath, ['-e', script], { stdio: 'pipe' });
    } catch (error) {
      died = error as typeof died;
    }
    expect(died.signal).toBe('SIGBUS');
    expect(String(died.stdout)).toBe('0true');
  });
});

describe('what an fd is', () => {
  it('is looked at, not believed', () => {
    const fd = sparse('plain', 8192);
    expect(peerFile(fd)).toMatchObject({ bytes: 8192, page: 4096 });
    expect(codeOf(() => checkSignal('X', fd))).toBe('VHOST_BAD_FD');
    expect(codeOf(() => checkSocket('X', fd))).toBe('VHOST_BAD_FD');
    closeSync(fd);
    const event = native.eventfd();
    expect(() => checkSignal('X', event)).not.toThrow();
    expect(codeOf(() => peerFile(event))).toBe('VHOST_BAD_FD');
    closeSync(event);
    execFileSync('mkfifo', [inFolder('fifo')]);
    const pipe = openSync(inFolder('fifo'), 'r+');
    expect(() => checkSignal('X', pipe)).not.toThrow();
    closeSync(pipe);
  });
});
