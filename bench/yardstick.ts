/** The same layered loop in C++ (`bench/native/yardstick.cc`), run as a process of its own. */
import { Child, lastJson } from './child.ts';
import type { Contestant, Sample } from './contestant.ts';

/** Which loop to run. */
export interface YardstickOptions {
  /** `null`: frames from a stack and back to it; `loop`: a ring that receives what it is sent. */
  readonly port: 'null' | 'loop';
  readonly burst: number;
  /** Frames that circulate in a ring. */
  readonly frames: number;
  readonly cpu: number;
}

/** Starts the yardstick. */
export async function openYardstick(binary: string, o: YardstickOptions): Promise<Contestant> {
  const args = [o.port, o.burst, o.frames, o.cpu].map(String);
  const child = new Child({ name: 'yardstick', command: binary, args, quit: '' });
  try {
    await child.expect(/^ready\n/m, 5000);
  } catch (error) {
    await child.close();
    throw error;
  }
  return {
    async sample(ms) {
      child.send(String(ms));
      return lastJson(await child.expect(/^\{.*\}\n/m, ms + 5000)) as Sample;
    },
    async close() {
      const rest = await child.close();
      return { faults: rest === '' ? [] : [rest] };
    },
  };
}
