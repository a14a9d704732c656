import { expect, test } from 'vitest';
import {
  ALU,
  alu,
  aluReg,
  assemble,
  call,
  exit,
  fromBigEndian,
  goto,
  type Item,
  JUMP,
  jump,
  jumpReg,
  label,
  load,
  loadMap,
  SIZE,
} from '../../lib/bpf/asm.ts';
import { parseMatch } from '../../lib/bpf/match.ts';
import { redirectProgram, XDP } from '../../lib/bpf/redirect.ts';

const hex = (items: readonly Item[]): string =>
  Buffer.from(assemble(items))
    .toString('hex')
    .replace(/.{16}(?=.)/g, '$& ');

// Written by hand from the instruction set: opcode, registers (source in the upper half), offset, immediate.
test.each<[string, Item[], string]>([
  ['r6 = r1', [aluReg(ALU.mov, 6, 1)], 'bf16000000000000'],
  ['r2 += 14', [alu(ALU.add, 2, 14)], '07020000 0e000000'],
  ['r3 &= 0x0fff', [alu(ALU.and, 3, 0xfff)], '57030000 ff0f0000'],
  ['r3 <<= 2', [alu(ALU.lsh, 3, 2)], '67030000 02000000'],
  ['r3 >>= 2', [alu(ALU.rsh, 3, 2)], '77030000 02000000'],
  ['r0 = -1', [alu(ALU.mov, 0, -1)], 'b7000000 ffffffff'],
  ['r4 += r3', [aluReg(ALU.add, 4, 3)], '0f34000000000000'],
  ['r7 = *(u32 *)(r6 + 4)', [load(SIZE.u32, 7, 6, 4)], '6167040000000000'],
  ['r9 = *(u16 *)(r7 + 12)', [load(SIZE.u16, 9, 7, 12)], '69790c0000000000'],
  ['r3 = *(u8 *)(r7 - 1)', [load(SIZE.u8, 3, 7, -1)], '7173ffff00000000'],
  ['r3 = *(u64 *)(r7 + 8)', [load(SIZE.u64, 3, 7, 8)], '7973080000000000'],
  ['r9 = be16 r9', [fromBigEndian(9, 16)], 'dc090000 10000000'],
  ['call 51', [call(51)], '85000000 33000000'],
  ['exit', [exit()], '9500000000000000'],
  ['r1 = map[fd 7]', loadMap(1, 7), '18110000 07000000 0000000000000000'],
  ['if r9 == 0x800 goto +1', [jump(JUMP.eq, 9, 0x800, 'x'), exit(), label('x')], '15090100 00080000 9500000000000000'],
  ['if r2 > r8 goto +0', [jumpReg(JUMP.gt, 2, 8, 'x'), label('x'), exit()], '2d820000 00000000 9500000000000000'],
  ['if r2 != 3 goto -1', [label('x'), jump(JUMP.ne, 2, 3, 'x')], '5502ffff 03000000'],
  ['goto +1', [goto('x'), exit(), label('x'), exit()], '0500010000000000 9500000000000000 9500000000000000'],
])('%s', (_, items, expected) => {
  const plain = expected.replaceAll(' ', '').replace(/.{16}(?=.)/g, '$& ');
  expect(hex(items)).toBe(plain);
});

test('A jump over the two slots of a map counts both', () => {
  expect(hex([goto('x'), ...loadMap(1, 7), label('x'), exit()]).split(' ')[0]).toBe('0500020000000000');
});

test('A jump to nowhere is our mistake, and is named', () => {
  expect(() => assemble([goto('nowhere')])).toThrow('no label nowhere');
});

test('The program without a match is seven instructions', () => {
  // r6 = r1; r2 = ctx->rx_queue_index; r1 = map; r3 = XDP_PASS; call redirect_map; exit
  const code = Buffer.from(redirectProgram(7, [], XDP.pass)).toString('hex');
  expect(code.match(/.{16}/g)).toEqual([
    'bf16000000000000',
    '6162100000000000',
    '1811000007000000',
    '0000000000000000',
    'b703000002000000',
    '8500000033000000',
    '9500000000000000',
  ]);
});

test('Sixteen terms of the longest kind still have jumps that reach', () => {
  const terms = parseMatch(Array.from({ length: 16 }, (_, i) => `host/2001:db8::${i + 1}`).join('+'));
  expect(redirectProgram(3, terms, XDP.drop).length / 8).toBeLessThan(4096);
});
