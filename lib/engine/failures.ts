/** What a supervisor says of jobs and workers. */
import { WorkerError } from '../errors.ts';
import type { CrewJob } from './crew.ts';
import type { Worker } from './worker.ts';

const nameOf = ({ app: { module, export: name } }: CrewJob): string => `application ${module}#${name}`;

/** `job`'s burst function threw `cause`. */
export function threw(job: CrewJob, cause: Error): WorkerError {
  const what = `${nameOf(job)} in worker ${job.worker.id}`;
  const fix = 'mend the application; its frames were given back, the other queues go on';
  return new WorkerError('APP_THREW', { what, why: cause.message, fix }, { cause });
}

/** It was to be replaced in a run that ends. */
export function ended(): WorkerError {
  const text = { what: 'replacing an application', why: 'the run has ended meanwhile', fix: 'start another run' };
  return new WorkerError('RUN_ENDED', text);
}

/** `job` was to get another application, and has been taken out. */
export function gone(job: CrewJob): WorkerError {
  const text = { what: `job ${job.number}`, why: 'a port of it has been closed', fix: 'start another run' };
  return new WorkerError('NO_SUCH_JOB', text);
}

/** `job`'s worker has died each time that its application was to be replaced. */
export function repeatedly(job: CrewJob): WorkerError {
  const what = `${nameOf(job)} in worker ${job.worker.id}`;
  const why = 'the worker has died again and again meanwhile';
  return new WorkerError('WORKER_DOWN', { what, why, fix: 'see the errors of its other jobs, and try again' });
}

/** `worker` was killed, and its thread goes on. */
export function stuck({ id, cpu }: Worker): WorkerError {
  const what = `worker ${id} on cpu ${cpu}`;
  const why = 'it was ended and its thread goes on: it is in a system call that does not return';
  const fix = 'see what the application waits for; its queues stand still until that returns';
  return new WorkerError('WORKER_STUCK', { what, why, fix }, { detail: { worker: id, cpu } });
}
