/** The jobs of l2fwd: one per rx queue, each with the port that its packets leave by. Pure. */
import type { AppSpec, JobSpec } from '../engine/types.ts';
import type { PortMap } from './portmap.ts';

/** One job per rx queue of each port. */
export function forwardingJobs(ports: readonly string[], to: PortMap, queues: number, app: AppSpec): JobSpec[] {
  return ports.flatMap((port, i) =>
    Array.from({ length: queues }, (_, queue): JobSpec => ({ app, rx: { port, queue }, tx: [ports[to[i]]] })),
  );
}
