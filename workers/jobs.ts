/** The jobs of one worker: made, replaced, set aside, taken out; and what of them the loop works on. Control half. */
import { type BurstFunction, DROP, type QueuePlan } from '../lib/queue.ts';
import { appError, loadApp } from './apps.ts';
import type { Attached, Job } from './attach.ts';
import { APP_COUNTERS, JOB, JOB_COUNTERS } from './control.ts';
import { heldIn, writeOff } from './ledger.ts';
import type { Work } from './loop.ts';
import type { AppName, Attachment, JobPlan, WorkerPlan } from './plan.ts';

const idle: BurstFunction = () => 0;

/** The jobs of `plan`, by their numbers in it. Frames that an application leaves behind are counted here. */
export class Jobs {
  private readonly attached: Attached;
  /** Null: taken out. */
  private readonly plans: (JobPlan | null)[];
  /** Undefined: the application has thrown, and nothing has taken its place yet. */
  private readonly made: (Job | undefined)[];
  /** The port whose driver is being exchanged. */
  private parked: string | undefined;
  /** Whose the words of each job's own counters are. */
  private readonly names: (readonly string[])[];

  constructor(plan: WorkerPlan, attached: Attached) {
    this.attached = attached;
    this.plans = [...plan.jobs];
    this.made = plan.jobs.map(() => undefined);
    this.names = plan.jobs.map((job) => job?.counterNames ?? []);
  }

  /** Names of the counters of each job's application, null when it has none. */
  get counterNames(): readonly (readonly string[] | null)[] {
    return this.made.map((job) => job?.counterNames ?? null);
  }

  /** Puts `app` into job `index`. What was there goes on until then, and stays if this throws. */
  async place(index: number, app: AppName, version: number): Promise<void> {
    const factory = await loadApp(app, this.plans[index]?.id ?? index, version);
    const plan = this.plans[index];
    if (plan === null) throw appError('NO_SUCH_JOB', app, 'its port has gone meanwhile', 'nothing is to be done');
    // From here on nothing waits: what the ledger says is held now is held by the application that was here before.
    const { memory } = this.attached;
    const held = heldIn(memory, plan.block);
    const flags = new Int32Array(memory, plan.block, JOB.counters);
    const finished = Atomics.exchange(flags, JOB.finished, 0);
    try {
      const job = this.attached.makeJob(plan, factory, app);
      this.resetCounters(plan, index, job.counterNames);
      this.made[index] = job;
    } catch (error) {
      Atomics.store(flags, JOB.finished, finished);
      writeOff(memory, plan.block, DROP.app_died, heldIn(memory, plan.block) - held);
      throw error;
    }
    writeOff(memory, plan.block, DROP.stopped, held);
  }

  /** Job `index` has thrown: nothing is called for it any more. */
  setAside(index: number): void {
    this.end(index, DROP.app_died);
  }

  /** Takes job `index` out for good, and its queues with it unless another job uses them too. */
  detach(index: number): void {
    this.end(index, DROP.stopped);
    this.plans[index] = null;
  }

  /** Leaves `jobs`, and their queues of `port`, until `attach`. */
  park(port: string, jobs: readonly number[]): void {
    for (const index of jobs) this.end(index, DROP.stopped);
    this.parked = port;
  }

  /** Goes on with the jobs that were parked, on new queues of `port`. Throws what making those throws. */
  async attach(port: string, jobs: readonly Attachment[]): Promise<void> {
    await this.attached.renew(
      port,
      jobs.map(({ plan }) => plan),
    );
    for (const { job, plan } of jobs) if (this.plans[job] !== null) this.plans[job] = plan;
    this.parked = undefined;
  }

  /** What the loop works on. Jobs that make packets are not called while `quiescent`. */
  work(quiescent: boolean): Work {
    const { attached, made, parked } = this;
    // A queue of another port that a parked job has is still to be kicked.
    const here = (queue: QueuePlan | null): boolean => queue !== null && queue.port !== parked;
    const attachedPlans = this.plans.filter((plan) => plan !== null);
    return {
      polls: this.plans.map((plan, index) =>
        plan === null || (quiescent && plan.rx === null) ? idle : (made[index]?.poll ?? idle),
      ),
      rx: attachedPlans.flatMap((plan) => (here(plan.rx) ? (attached.rxOf(plan) ?? []) : [])),
      tx: [...new Set(attachedPlans.flatMap((plan) => attached.txOf(plan).filter((_, i) => here(plan.tx[i]))))],
    };
  }

  private end(index: number, reason: (typeof DROP)['app_died' | 'stopped']): void {
    const plan = this.plans[index];
    if (plan === null) return;
    this.made[index] = undefined;
    writeOff(this.attached.memory, plan.block, reason);
  }

  /** The same application again goes on counting; another one's counters start at zero. */
  private resetCounters(plan: JobPlan, index: number, names: readonly string[]): void {
    if (this.names[index].join('\n') !== names.join('\n')) {
      const at = plan.block + (JOB.counters + JOB_COUNTERS.length * 2) * 4;
      new Int32Array(this.attached.memory, at, APP_COUNTERS * 2).fill(0);
    }
    this.names[index] = names;
  }
}
