/** Assembles eBPF instructions: eight bytes each (Linux, Documentation/bpf/standardization/instruction-set.rst §2). */

/** One instruction, or a place to jump to. */
export type Item = { readonly label: string } | Instruction;

/** An instruction whose jump target, if any, is still a name. */
export interface Instruction {
  readonly code: number;
  readonly dst: number;
  readonly src: number;
  readonly off: number | string;
  readonly imm: number;
}

/** Widths of memory accesses, as the SIZE bits of an opcode (§4.4). */
export const SIZE = { u32: 0x00, u16: 0x08, u8: 0x10, u64: 0x18 } as const;

/** Comparisons, as the operation bits of a jump (§4.3). Unsigned. */
export const JUMP = { always: 0x00, eq: 0x10, gt: 0x20, ge: 0x30, ne: 0x50, lt: 0xa0, le: 0xb0 } as const;

/** Arithmetic, as the operation bits of an ALU64 instruction (§4.1). */
export const ALU = { add: 0x00, or: 0x40, and: 0x50, lsh: 0x60, rsh: 0x70, mov: 0xb0 } as const;

const make = (code: number, dst = 0, src = 0, off: number | string = 0, imm = 0): Instruction => ({
  code,
  dst,
  src,
  off,
  imm,
});

/** A place to jump to. */
export const label = (name: string): Item => ({ label: name });
/** `dst = dst op imm`, 64 bits. */
export const alu = (op: number, dst: number, imm: number): Instruction => make(0x07 | op, dst, 0, 0, imm);
/** `dst = dst op src`, 64 bits. */
export const aluReg = (op: number, dst: number, src: number): Instruction => make(0x0f | op, dst, src);
/** `dst = *(size *)(src + off)`. */
export const load = (size: number, dst: number, src: number, off: number): Instruction =>
  make(0x61 | size, dst, src, off);
/** `if dst op imm goto target`, 64 bits. */
export const jump = (op: number, dst: number, imm: number, target: string): Instruction =>
  make(0x05 | op, dst, 0, target, imm);
/** `if dst op src goto target`. */
export const jumpReg = (op: number, dst: number, src: number, target: string): Instruction =>
  make(0x0d | op, dst, src, target);
/** `goto target`. */
export const goto = (target: string): Instruction => make(0x05, 0, 0, target);
/** Calls a helper by its number. */
export const call = (helper: number): Instruction => make(0x85, 0, 0, 0, helper);
/** Returns r0. */
export const exit = (): Instruction => make(0x95);
/** `dst = host order of a big-endian value` of 16 or 32 bits. */
export const fromBigEndian = (dst: number, bits: 16 | 32): Instruction => make(0xdc, dst, 0, 0, bits);

/** `dst = the map behind fd`: a 64-bit immediate, two slots (BPF_PSEUDO_MAP_FD). */
export const loadMap = (dst: number, fd: number): Instruction[] => [make(0x18, dst, 1, 0, fd), make(0)];

/** Lays out a program. Jump distances count instructions after the jump. Throws on an unknown label: that is our mistake. */
export function assemble(items: readonly Item[]): Uint8Array {
  const places = new Map<string, number>();
  const code: Instruction[] = [];
  for (const item of items) {
    if ('label' in item) places.set(item.label, code.length);
    else code.push(item);
  }
  const bytes = new Uint8Array(code.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [i, { code: opcode, dst, src, off, imm }] of code.entries()) {
    const place = typeof off === 'number' ? off : places.get(off);
    if (place === undefined) throw new RangeError(`no label ${String(off)}`);
    view.setUint8(i * 8, opcode);
    view.setUint8(i * 8 + 1, (src << 4) | dst);
    view.setInt16(i * 8 + 2, typeof off === 'number' ? off : place - i - 1, true);
    view.setInt32(i * 8 + 4, imm, true);
  }
  return bytes;
}
