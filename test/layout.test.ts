import { describe, expect, expectTypeOf, it } from 'vitest';
import { bank, type Field, layout, Registers, ro8, ro16, ro32, rw8, rw16, rw32, rw64, wo32 } from '../lib/layout.ts';
import { codeOf, thrown } from './fakes/errors.ts';

const Table = layout('test', 0x40, {
  status: ro8(0x00),
  control: rw8(0x01),
  count: ro16(0x02),
  length: rw16(0x04),
  id: ro32(0x08),
  doorbell: wo32(0x0c),
  address: rw64(0x10),
  tail: bank(2, 0x10, rw32(0x20)),
});

function registers() {
  const memory = new SharedArrayBuffer(0x80);
  return { regs: new Registers(memory, 0x40, 0x40), bytes: new Uint8Array(memory, 0x40) };
}

describe('A layout', () => {
  it('is numbers: offsets, and for a bank a function', () => {
    expect([Table.status, Table.length, Table.address, Table.tail(0), Table.tail(1)]).toEqual([0, 4, 16, 0x20, 0x30]);
  });

  it('lets nothing compile that the datasheet forbids', () => {
    expectTypeOf(Table.count).toEqualTypeOf<Field<16, 'ro'>>();
    expectTypeOf(Table.tail).returns.toEqualTypeOf<Field<32, 'rw'>>();
    const { regs } = registers();
    // @ts-expect-error: read-only
    regs.put16(Table.count, 1);
    // @ts-expect-error: sixteen bits
    expect(() => regs.get32(Table.length)).not.toThrow();
    // @ts-expect-error: write-only
    regs.get32(Table.doorbell);
    // @ts-expect-error: a bare number is no register
    regs.get32(8);
  });

  it.each([
    ['overlaps', { a: rw32(0), b: rw16(2) }, 'test.b: it overlaps a'],
    ['overlaps within a bank', { a: bank(2, 0, rw32(0)) }, 'test.a[1]: it overlaps a[0]'],
    ['is not aligned', { a: rw32(2) }, 'test.a: it is not aligned'],
    ['is not aligned, being of 64 bits', { a: rw64(2) }, 'test.a: it is not aligned'],
    ['leads out', { a: rw64(12) }, 'test.a: it ends at 20, and there are 16 bytes'],
    ['leads out with its last', { a: bank(3, 8, rw32(0)) }, 'test.a[2]: it ends at 20, and there are 16 bytes'],
    ['is before the first byte', { a: rw32(-4) }, 'test.a: it is not aligned'],
  ])('that %s is refused', (_, table, message) => {
    const error = thrown(() => layout('test', 16, table));
    expect((error as { code?: unknown }).code).toBe('BAD_LAYOUT');
    expect(String(error)).toContain(message);
  });

  it('may have other registers between those of a bank', () => {
    expect(() => layout('test', 16, { a: bank(2, 8, rw32(0)), b: bank(2, 8, rw32(4)) })).not.toThrow();
  });
});

describe('Registers', () => {
  it('are read and written at their width, little-endian', () => {
    const { regs, bytes } = registers();
    bytes.set([1, 2, 3, 4, 5, 6, 0, 0, 0xfc, 0xfd, 0xfe, 0xff]);
    expect([regs.get8(Table.status), regs.get8(Table.control)]).toEqual([1, 2]);
    expect([regs.get16(Table.count), regs.get16(Table.length)]).toEqual([0x0403, 0x0605]);
    expect(regs.get32(Table.id)).toBe(0xfffefdfc);
    regs.put8(Table.control, 0xaa);
    regs.put16(Table.length, 0xbbcc);
    regs.put32(Table.doorbell, 0xddee_ff00);
    regs.put32(Table.tail(1), 7);
    regs.put64(Table.address, 0x0102_0304_f506_0708n);
    expect(regs.get64(Table.address)).toBe(0x0102_0304_f506_0708n);
    expect([...bytes.subarray(0, 0x18)]).toEqual([
      ...[1, 0xaa, 3, 4, 0xcc, 0xbb, 0, 0, 0xfc, 0xfd, 0xfe, 0xff, 0x00, 0xff, 0xee, 0xdd],
      ...[8, 7, 6, 0xf5, 4, 3, 2, 1],
    ]);
    expect(bytes[0x30]).toBe(7);
  });

  it('outside the window that a device gives are refused', () => {
    const small = new Registers(new SharedArrayBuffer(16), 0, 16);
    expect(codeOf(() => small.get64(Table.address))).toBe('OUTSIDE_WINDOW');
    expect(codeOf(() => small.put32(Table.tail(0), 1))).toBe('OUTSIDE_WINDOW');
    expect(small.get32(Table.id)).toBe(0);
  });
});
