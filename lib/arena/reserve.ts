/** Reserving the arena's addresses: the only place that knows that it is a WebAssembly memory (docs/adr/0001-arena.md). */
import { ArenaError } from '../errors.ts';

/** A shared WebAssembly memory: it can be sent to workers, and its buffer never moves. */
export interface WasmMemory {
  readonly buffer: SharedArrayBuffer;
}

interface WasmGlobal {
  readonly WebAssembly: {
    readonly Memory: new (descriptor: { initial: number; maximum: number; shared: true }) => WasmMemory;
  };
}

/** A WebAssembly page. */
export const WASM_PAGE = 65_536;

/** The largest arena: 32-bit offsets. */
export const ARENA_MAX = 2 ** 32;

/**
 * Reserves `bytes` (whole 64 KiB pages, up to 4 GiB) of address space. No memory is used until it is touched.
 * Throws `NO_ADDRESS_SPACE`.
 */
export function reserve(bytes: number): WasmMemory {
  const pages = bytes / WASM_PAGE;
  try {
    const { Memory } = (globalThis as unknown as WasmGlobal).WebAssembly;
    return new Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw new ArenaError(
      'NO_ADDRESS_SPACE',
      {
        what: `arena of ${bytes} bytes`,
        why: `the address space could not be reserved (${(cause as Error).message})`,
        fix: 'raise "ulimit -v" and vm.overcommit_memory, close other engines, or ask for a smaller arena (option arenaBytes)',
      },
      { cause, detail: { bytes } },
    );
  }
}
