/** What is done with the cards of engines that died with their keepers. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Backend } from '../../lib/keeper/protocol.ts';
import { processOf, readKept, runs, writeKept } from '../../lib/keeper/records.ts';
import { sweep } from '../../lib/keeper/sweep.ts';
import { UioFunction } from '../../lib/uio/function.ts';
import type { FakeFunction } from '../fakes/sysfs.ts';
import { FakeUio } from '../fakes/uio.ts';

const DEAD = { pid: 2 ** 22 + 1, start: '1' };
const ALIVE = processOf(process.pid)!;

function world(made: FakeFunction = {}, backend: Backend = 'uio') {
  const uio = new FakeUio(made);
  const folder = mkdtempSync(join(tmpdir(), 'linecard-kept-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const record = { address: uio.address, backend, engine: DEAD, keeper: DEAD };
  const place = { ...uio.place, proc: '/proc', folder };
  uio.command = 0x0006;
  return { uio, folder, record, place };
}

describe('The function of an engine and a keeper that are dead', () => {
  it('is stopped and reset, and its record removed', () => {
    const { uio, folder, record, place } = world();
    writeKept(folder, record);
    expect(sweep(place)).toEqual([{ address: uio.address, outcome: 'stopped', errors: [] }]);
    expect([uio.command, uio.resets]).toEqual([0x0002, '1']);
    expect(readdirSync(folder)).toEqual([]);
    expect(sweep(place)).toEqual([]);
  });

  it('that has bus master off has been stopped before', () => {
    const { uio, folder, record, place } = world();
    uio.command = 0x0002;
    writeKept(folder, record);
    expect(sweep(place)).toMatchObject([{ outcome: 'stopped-before' }]);
  });

  it('is left to another engine that has it by now', () => {
    const { uio, folder, record, place } = world();
    writeKept(folder, record);
    const other = new UioFunction(uio.place, uio.address);
    onTestFinished(() => other.close());
    expect(sweep(place)).toMatchObject([{ outcome: 'left', why: 'another engine has it now', errors: [] }]);
    expect([uio.command, uio.resets, readdirSync(folder)]).toEqual([0x0006, '', []]);
  });

  it('is left to the kernel when that has it, or has stopped it', () => {
    const taken = world();
    writeKept(taken.folder, taken.record);
    taken.uio.rebind('e1000e');
    expect(sweep(taken.place)).toMatchObject([{ outcome: 'left', why: 'e1000e has it now' }]);
    const vfio = world({ driver: 'vfio-pci' }, 'vfio');
    writeKept(vfio.folder, vfio.record);
    expect(sweep(vfio.place)).toMatchObject([{ outcome: 'stopped-before' }]);
    expect([taken.uio.command, vfio.uio.command]).toEqual([0x0006, 0x0006]);
  });

  it('that has been removed leaves nothing but a record, which goes', () => {
    const { uio, folder, record, place } = world();
    writeKept(folder, record);
    uio.sysfs.remove(uio.address);
    expect(sweep(place)).toMatchObject([{ outcome: 'left', why: 'it has been removed' }]);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('that cannot be reset is told, and looked at again the next time', () => {
    const { uio, folder, record, place } = world();
    writeKept(folder, record);
    uio.without('uio');
    expect(sweep(place)).toMatchObject([{ outcome: 'left', errors: [{ code: 'UIO_OPEN' }] }]);
    expect(readdirSync(folder)).toHaveLength(1);
  });
});

describe('Records', () => {
  it('of those who live are left alone', () => {
    for (const living of [{ engine: ALIVE }, { keeper: ALIVE }]) {
      const { uio, folder, record, place } = world();
      writeKept(folder, { ...record, ...living });
      expect(sweep(place)).toEqual([]);
      expect([uio.command, readdirSync(folder).length]).toEqual([0x0006, 1]);
    }
  });

  it('that cannot be read are told, and stop nothing', () => {
    const { uio, folder, place } = world();
    for (const text of ['', '{}', '{"version":1,"address":"0000:02:00.0"}']) {
      writeFileSync(join(folder, `${uio.address}.json`), text);
      expect(readKept(folder).get(uio.address)).toBeUndefined();
      expect(sweep(place)).toMatchObject([{ outcome: 'left', why: 'its record cannot be read' }]);
    }
    expect(uio.command).toBe(0x0006);
    expect(readKept(join(folder, 'nowhere'))).toEqual(new Map());
  });

  it('tell a process from the next of its number, and from a dead one', () => {
    expect(runs(ALIVE)).toBe(true);
    expect(runs({ ...ALIVE, start: `${Number(ALIVE.start) - 1}` })).toBe(false);
    expect(runs(DEAD)).toBe(false);
  });
});
