/** The front end's memory changes: all at once or not at all. Main thread. */
import type { Handlers } from '../handler.ts';
import { addRegion, type MemoryTable, makeTable, removeRegion, unmapTable } from '../memory.ts';
import type { SessionState } from '../state.ts';

/**
 * Puts `next` in the place of the table. Rings that run stand still meanwhile, and must be in it too, or it is refused;
 * what only the old one has is unmapped last.
 */
async function replace(state: SessionState, next: MemoryTable): Promise<void> {
  const old = state.table;
  try {
    state.rings.checkAgainst(next);
    await state.rings.quiesced(() => {
      state.table = next;
      unmapTable(state.memory, old, next);
    });
  } catch (error) {
    if (state.table === old) unmapTable(state.memory, next, old);
    throw error;
  }
}

export const memoryHandlers: Handlers<'SET_MEM_TABLE' | 'ADD_MEM_REG' | 'REM_MEM_REG'> = {
  SET_MEM_TABLE(state, regions, fds) {
    const wanted = regions.map((region, i) => ({ region, fd: fds.peek(i) as number }));
    return replace(state, makeTable(state.memory, state.table, wanted));
  },
  ADD_MEM_REG(state, region, fds) {
    return replace(state, addRegion(state.memory, state.table, { region, fd: fds.peek(0) as number }));
  },
  // An fd that comes with it is closed unused, as all that nobody takes.
  REM_MEM_REG: (state, region) => replace(state, removeRegion(state.table, region)),
};
