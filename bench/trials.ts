/** What is measured: the trials as data. */

/** Bursts of every pipeline trial: from no batching at all to the largest that a device is likely to give. */
export const BURSTS = [1, 4, 8, 16, 32, 64, 128, 256] as const;

/** A pipeline: l2fwd with MAC updating between ports, all on one cpu. */
export interface Pipeline {
  readonly kind: string;
  readonly title: string;
  /** Port names; none where they are made for the run. */
  readonly ports: readonly string[];
  /** Jobs of the one worker: from the port of the first index to the port of the second. */
  readonly jobs: readonly (readonly [from: number, to: number])[];
  /** Frames that circulate; 0 where the ports make their own. */
  readonly frames: number;
  /** The C++ loop that does the same, if there is one. */
  readonly yardstick?: 'null' | 'loop';
  /** Whether testpmd between two `net_null` ports does the same. */
  readonly testpmd: boolean;
  /** Between interfaces of the kernel: contestants want the same ones, so they come one after the other. */
  readonly wires?: true;
  /** Ports are the two ends of a vhost-user socket, whose path stands for `SOCKET` in their names; what rings are like. */
  readonly joined?: 'split' | 'packed';
  /** Two processes at the ends of a vhost-user socket: a generator on one cpu, the contestant on the other. */
  readonly seat?: Seat;
  readonly bursts: readonly number[];
}

/** Which end of the socket the contestant has. */
export interface Seat {
  readonly end: 'vhost-user' | 'virtio-user';
  readonly rings: 'split' | 'packed';
}

/** Frames in a ring that feeds itself: the largest burst, twice. */
const CIRCULATING = 512;

/** In port names: the path of a socket that is made for the contestant. */
export const SOCKET = 'SOCKET';

/** Descriptors of a virtqueue, and frames under way per direction: what testpmd starts with, four bursts. */
export const VIRTQUEUE = 256;
const IN_FLIGHT = 128;

/** A vhost port and a virtio-net port at the two ends of one socket, both on the one worker. */
const selfLoop = (kind: string, joined: 'split' | 'packed'): Pipeline => ({
  kind,
  title: `a vhost-user and a virtio-user port joined by their socket, ${joined} rings of ${VIRTQUEUE}`,
  ports: [`vhost-user:${SOCKET}`, `virtio-user:${SOCKET}${joined === 'packed' ? ',packed=1' : ''}`],
  jobs: [
    [0, 1],
    [1, 0],
  ],
  frames: IN_FLIGHT,
  testpmd: true,
  joined,
  bursts: [32],
});

/** A forwarder of its own process at one end of a socket, testpmd as generator at the other. */
const twoProcesses = (kind: string, seat: Seat): Pipeline => ({
  kind,
  title: `two processes: testpmd sends 256 packets round, forwarded at the ${seat.end} end, ${seat.rings} rings`,
  ports: [],
  jobs: [],
  frames: 0,
  testpmd: true,
  seat,
  bursts: [32],
});

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
  selfLoop('virtio-split', 'split'),
  selfLoop('virtio-packed', 'packed'),
  twoProcesses('seat-virtio-split', { end: 'virtio-user', rings: 'split' }),
  twoProcesses('seat-virtio-packed', { end: 'virtio-user', rings: 'packed' }),
  twoProcesses('seat-vhost-split', { end: 'vhost-user', rings: 'split' }),
  twoProcesses('seat-vhost-packed', { end: 'vhost-user', rings: 'packed' }),
  {
    kind: 'xdp',
    title: 'xdp: from one veth pair to another, offered more than anybody can forward; counted where it arrives',
    ports: [],
    jobs: [],
    frames: 0,
    testpmd: true,
    wires: true,
    bursts: [32],
  },
];

/** One pipeline at one burst. */
export interface Trial {
  /** `null/32` */
  readonly name: string;
  readonly pipeline: Pipeline;
  readonly burst: number;
}

/** UDP round trips: who is asked, or stands between, is the contestant's business. */
export interface RoundTripTrial {
  readonly kind: 'rtt' | 'echo';
  readonly title: string;
  /** Requests under way at a time. */
  readonly inFlight: readonly number[];
}

/** The round trips. */
export const ROUND_TRIPS: readonly RoundTripTrial[] = [
  {
    kind: 'rtt',
    title: 'through a forwarder (client and server on one cpu, forwarder on another)',
    inFlight: [1],
  },
  {
    kind: 'echo',
    title: "to an echo server on the wire's other end (client on one cpu, server on another unless it says otherwise)",
    inFlight: [1, 32],
  },
];

/** Name of the latency histograms at the ends of a vhost-user socket. */
export const LATENCY_SUBJECT = 'virtio-latency';

/** Names that `--only` understands: the pipelines, the round trips, the histograms, and the small pieces. */
export const SUBJECTS = [
  ...[...PIPELINES, ...ROUND_TRIPS].map((p) => p.kind),
  LATENCY_SUBJECT,
  'ring',
  'frames',
] as const;

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
  /** Milliseconds of asking per round, contestant and number of requests in flight. */
  readonly tripMs: number;
  /** Milliseconds at half load per round and contestant. */
  readonly latencyMs: number;
}

/** The schedule of an ordinary run, and of a smoke test. */
export const SCHEDULES: { readonly full: Schedule; readonly quick: Schedule } = {
  full: { rounds: 5, samples: 5, sampleMs: 150, warmUpMs: 400, tripMs: 800, latencyMs: 6000 },
  quick: { rounds: 1, samples: 5, sampleMs: 100, warmUpMs: 400, tripMs: 300, latencyMs: 500 },
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
  { trial: 'virtio-split/32', than: 'testpmd', ratio: 1 },
  { trial: 'virtio-packed/32', than: 'testpmd', ratio: 1 },
  { trial: 'seat-virtio-split/32', than: 'testpmd', ratio: 1 },
  { trial: 'seat-virtio-packed/32', than: 'testpmd', ratio: 1 },
  { trial: 'seat-vhost-split/32', than: 'testpmd', ratio: 1 },
  { trial: 'seat-vhost-packed/32', than: 'testpmd', ratio: 1 },
  { trial: 'xdp/32', than: 'testpmd', ratio: 1 },
];
