/**
 * The XDP program that takes packets from an interface for AF_XDP sockets: what matches goes to the socket of its rx
 * queue, everything else, and what no socket is there for, goes on to the kernel (or is dropped, when closed).
 * Linux, Documentation/networking/af_xdp.rst, "XDP_SHARED_UMEM" and "XSKMAP".
 */
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
} from './asm.ts';
import type { Term } from './match.ts';

/** What a program answers (include/uapi/linux/bpf.h, enum xdp_action). */
export const XDP = { aborted: 0, drop: 1, pass: 2 } as const;

/** Offsets in struct xdp_md. */
const MD = { data: 0, dataEnd: 4, rxQueueIndex: 16 } as const;
const REDIRECT_MAP = 51;
/** Registers: r6 context, r7 start of the layer 3 header, r8 end of the packet, r9 its ethertype; r2 to r5 scratch. */
const [CTX, L3, END, TYPE] = [6, 7, 8, 9];

const ETHER = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, qinq: 0x88a8, ipv6: 0x86dd } as const;

/** Jumps to `target` unless `bytes` more bytes lie at `reg`. */
const need = (reg: number, bytes: number, target: string): Item[] => [
  aluReg(ALU.mov, 2, reg),
  alu(ALU.add, 2, bytes),
  jumpReg(JUMP.gt, 2, END, target),
];

/** L3 and TYPE behind the Ethernet header and one tag, if any; without room for them the packet is not ours. */
function parseEthernet(): Item[] {
  return [
    load(SIZE.u32, L3, CTX, MD.data),
    load(SIZE.u32, END, CTX, MD.dataEnd),
    ...need(L3, 14, 'other'),
    load(SIZE.u16, TYPE, L3, 12),
    fromBigEndian(TYPE, 16),
    alu(ALU.add, L3, 14),
  ];
}

function skipTag(): Item[] {
  return [
    jump(JUMP.eq, TYPE, ETHER.vlan, 'tag'),
    jump(JUMP.ne, TYPE, ETHER.qinq, 'untagged'),
    label('tag'),
    ...need(L3, 4, 'other'),
    load(SIZE.u16, TYPE, L3, 2),
    fromBigEndian(TYPE, 16),
    alu(ALU.add, L3, 4),
    label('untagged'),
  ];
}

function matchVlan(id: number, next: string): Item[] {
  return [
    jump(JUMP.eq, TYPE, ETHER.vlan, `${next} tag`),
    jump(JUMP.ne, TYPE, ETHER.qinq, next),
    label(`${next} tag`),
    ...need(L3, 4, 'other'),
    load(SIZE.u16, 3, L3, 0),
    fromBigEndian(3, 16),
    alu(ALU.and, 3, 0x0fff),
    jump(JUMP.eq, 3, id, 'ours'),
  ];
}

/** Destination port of UDP or TCP over IPv4 (any header length, not behind the first fragment) or IPv6 (no extensions). */
function matchPort(protocol: number, port: number, next: string): Item[] {
  const wire = ((port & 0xff) << 8) | (port >> 8);
  return [
    jump(JUMP.eq, TYPE, ETHER.ipv6, `${next} v6`),
    jump(JUMP.ne, TYPE, ETHER.ipv4, next),
    ...need(L3, 20, next),
    load(SIZE.u8, 3, L3, 9),
    jump(JUMP.ne, 3, protocol, next),
    load(SIZE.u16, 3, L3, 6),
    fromBigEndian(3, 16),
    alu(ALU.and, 3, 0x1fff),
    jump(JUMP.ne, 3, 0, next),
    load(SIZE.u8, 3, L3, 0),
    alu(ALU.and, 3, 0x0f),
    alu(ALU.lsh, 3, 2),
    aluReg(ALU.mov, 4, L3),
    aluReg(ALU.add, 4, 3),
    ...need(4, 4, next),
    load(SIZE.u16, 3, 4, 2),
    jump(JUMP.eq, 3, wire, 'ours'),
    goto(next),
    label(`${next} v6`),
    ...need(L3, 44, next),
    load(SIZE.u8, 3, L3, 6),
    jump(JUMP.ne, 3, protocol, next),
    load(SIZE.u16, 3, L3, 42),
    jump(JUMP.eq, 3, wire, 'ours'),
  ];
}

/** Jumps to `next` unless the words at `reg + off` are `bytes`. */
function compare(reg: number, off: number, bytes: Uint8Array, next: string): Item[] {
  return Array.from({ length: bytes.length / 2 }, (_, i) => [
    load(SIZE.u16, 3, reg, off + i * 2),
    jump(JUMP.ne, 3, bytes[i * 2] | (bytes[i * 2 + 1] << 8), next),
  ]).flat();
}

function matchHost4(address: Uint8Array, next: string): Item[] {
  return [
    jump(JUMP.eq, TYPE, ETHER.arp, `${next} arp`),
    jump(JUMP.ne, TYPE, ETHER.ipv4, next),
    ...need(L3, 20, next),
    ...compare(L3, 16, address, next),
    goto('ours'),
    label(`${next} arp`),
    ...need(L3, 28, next),
    ...compare(L3, 24, address, next),
    goto('ours'),
  ];
}

/** IPv6 destination, or a neighbour solicitation (RFC 4861 §4.3) for the address. */
function matchHost6(address: Uint8Array, next: string): Item[] {
  return [
    jump(JUMP.ne, TYPE, ETHER.ipv6, next),
    ...need(L3, 40, next),
    ...compare(L3, 24, address, `${next} ns`),
    goto('ours'),
    label(`${next} ns`),
    ...need(L3, 64, next),
    load(SIZE.u8, 3, L3, 6),
    jump(JUMP.ne, 3, 58, next),
    load(SIZE.u8, 3, L3, 40),
    jump(JUMP.ne, 3, 135, next),
    ...compare(L3, 48, address, next),
    goto('ours'),
  ];
}

function matchTerm(term: Term, next: string): Item[] {
  switch (term.kind) {
    case 'udp':
      return matchPort(17, term.port, next);
    case 'tcp':
      return matchPort(6, term.port, next);
    case 'vlan':
      return matchVlan(term.id, next);
    case 'ether':
      return [jump(JUMP.eq, TYPE, term.type, 'ours')];
    case 'host':
      return term.address.length === 4 ? matchHost4(term.address, next) : matchHost6(term.address, next);
  }
}

function matchAll(terms: readonly Term[]): Item[] {
  const code = (list: readonly Term[], stage: string) =>
    list.flatMap((term, i) => [...matchTerm(term, `${stage} ${i} end`), label(`${stage} ${i} end`)]);
  // VLAN terms look at the tag, the others behind it; "ether" may mean either.
  const outer = terms.filter(({ kind }) => kind === 'vlan' || kind === 'ether');
  const inner = terms.filter(({ kind }) => kind !== 'vlan');
  return [...parseEthernet(), ...code(outer, 'outer'), ...skipTag(), ...code(inner, 'inner'), goto('other')];
}

/**
 * Returns the code of the program. Without `terms` every packet is taken. `otherwise` happens to packets of ours whose
 * queue has no socket: XDP.pass, or XDP.drop to fail closed. What does not match always passes.
 */
export function redirectProgram(map: number, terms: readonly Term[], otherwise: number): Uint8Array {
  return assemble([
    aluReg(ALU.mov, CTX, 1),
    ...(terms.length === 0 ? [] : matchAll(terms)),
    label('ours'),
    load(SIZE.u32, 2, CTX, MD.rxQueueIndex),
    ...loadMap(1, map),
    alu(ALU.mov, 3, otherwise),
    call(REDIRECT_MAP),
    exit(),
    ...(terms.length === 0 ? [] : [label('other'), alu(ALU.mov, 0, XDP.pass), exit()]),
  ]);
}
