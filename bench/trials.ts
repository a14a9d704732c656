/** What is measured: the trials as data. */

/** Bursts of every pipeline trial: from no batching at all to the largest that a device is likely to give. */
export const BURSTS = [1, 4, 8, 16, 32, 64, 128, 256] as const;

/** A pipeline: l2fwd with MAC updating between ports, all on one cpu. */
export interface Pipeline {
  readonly kind: string;
  readonly title: string;
  /** Port names. */
  readonly ports: readonly string[];
  /** Jobs of the one worker: from the port of the first index to the port of the second. */
  readonly jobs: readonly (readonly [from: number, to: number])[];
  /** Frames that circulate; 0 where the ports make their own. */
  readonly frames: number;
  /** The C++ loop that does the same. */
  readonly yardstick: 'null' | 'loop';
  /** Whether testpmd between two `net_null` ports does the same. */
  readonly testpmd: boolean;
  readonly bursts: readonly number[];
}

/** Frames in a ring that feeds itself: the largest burst, twice. */
const CIRCULATING = 512;

/** The pipelines. */
export const PIPELINES: readonly Pipeline[] = [
  {
    kind: 'null',
    title: 'null to null',
    ports: ['null:0', 'null:1'],
    jobs: [[0, 1]],
    frames: 0,
    yardstick: 'null',
    testpmd: true,
    bursts: BURSTS,
  },
  {
    kind: 'null2',
    title: 'null to null and back, two jobs on one worker',
    ports: ['null:0', 'null:1'],
    jobs: [
      [0, 1],
      [1, 0],
    ],
    frames: 0,
    yardstick: 'null',
    testpmd: true,
    bursts: [32, 64],
  },
  {
    kind: 'loop',
    title: 'loop: a ring that receives what it is sent',
    ports: ['loop:0'],
    jobs: [[0, 0]],
    frames: CIRCULATING,
    yardstick: 'loop',
    testpmd: false,
    bursts: BURSTS,
  },
  {
    kind: 'pair',
    title: 'pair: two ports joined by rings',
    ports: ['pair:bench/0', 'pair:bench/1'],
    jobs: [[0, 1]],
    frames: CIRCULATING,
    yardstick: 'loop',
    testpmd: false,
    bursts: BURSTS,
  },
];

/** One pipeline at one burst. */
export interface Trial {
  /** `null/32` */
  readonly name: string;
  readonly pipeline: Pipeline;
  readonly burst: number;
}

/** Names that `--only` understands: the pipelines, and the small pieces. */
export const SUBJECTS = [...PIPELINES.map((p) => p.kind), 'ring', 'frames'] as const;

/** Returns the pipeline trials for the subjects `only`. */
export function selectTrials(only: readonly string[], quick: boolean): Trial[] {
  const chosen = PIPELINES.filter((p) => only.includes(p.kind));
  return chosen.flatMap((pipeline) =>
    pipeline.bursts
      .filter((burst) => !quick || burst === 32)
      .map((burst) => ({ name: `${pipeline.kind}/${burst}`, pipeline, burst })),
  );
}

/** How long and how often. */
export interface Schedule {
  /** Times that every process is started anew: its code is compiled anew and its memory lies elsewhere. */
  readonly rounds: number;
  /** Samples per round and contestant, in alternation. */
  readonly samples: number;
  /** Milliseconds per sample. */
  readonly sampleMs: number;
  /** Milliseconds before the first sample, for compilers and caches. */
  readonly warmUpMs: number;
}

/** The schedule of an ordinary run, and of a smoke test. */
export const SCHEDULES: { readonly full: Schedule; readonly quick: Schedule } = {
  full: { rounds: 5, samples: 5, sampleMs: 150, warmUpMs: 400 },
  quick: { rounds: 1, samples: 5, sampleMs: 100, warmUpMs: 400 },
};

/** What the project set out to reach; a run that falls short says by how much. */
export interface Target {
  readonly trial: string;
  readonly than: string;
  readonly ratio: number;
}

/** The targets. */
export const TARGETS: readonly Target[] = [
  { trial: 'null/32', than: 'testpmd', ratio: 1 },
  { trial: 'null/32', than: 'C++', ratio: 0.7 },
];
