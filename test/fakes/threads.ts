/** Real threads for tests of shared memory. They run what was built: plain JavaScript, as the workers do. */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

/** A thread that was started. */
export interface Thread {
  /** Resolves to the one message that it posts; rejects when it throws. */
  readonly result: Promise<unknown>;
  /** Ends it wherever it is. */
  stop(): Promise<unknown>;
}

/** Starts `script` (relative to `from`, an `import.meta.url`) with `data`. */
export function startThread(from: string, script: string, data: unknown): Thread {
  const worker = new Worker(fileURLToPath(new URL(script, from)), { workerData: data });
  const result = once(worker, 'message').then(([message]: unknown[]) => message);
  return { result, stop: () => worker.terminate() };
}
