/** Whom the kernel ends first when memory runs out (proc(5), `oom_score_adj`). */
import { readFileSync, writeFileSync } from 'node:fs';

/** Below this only what must not be ended at all. */
const PROTECTED = '-900';

const fileOf = (who: number | 'self'): string => `/proc/${who}/oom_score_adj`;

/** What this process has, and its children inherit. */
export const oomScore = (): string => readFileSync(fileOf('self'), 'utf8').trim();

/**
 * Has the kernel end process `pid`, an engine, rather than this one, which sees to what that leaves. The engine keeps the
 * score `own` that it would have had. Takes CAP_SYS_RESOURCE; without that both stay as they are.
 */
export function preferEngine(pid: number, own: string): void {
  try {
    writeFileSync(fileOf('self'), PROTECTED);
    writeFileSync(fileOf(pid), own);
  } catch {
    // Without the privilege; or the engine has ended already.
  }
}
