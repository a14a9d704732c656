/**
 * Who may import whom (docs/architecture.md): the tables below are the rule. Errors, tables and packet formats import
 * nothing of ours; what runs in a worker sees those and memory, nothing else; the framework knows no bus, devio or
 * driver; nothing imports the command line.
 */
import { describe, expect, it } from 'vitest';
import { closure, findCycle, type Import, type Module, parseModule, readModules } from './fakes/imports.ts';

const ERRORS = /^lib\/(errors|system-error)\.ts$/;
const QUEUE = /^lib\/queue\.ts$/;
const LAYOUT = /^lib\/layout\.ts$/;
/** Looks, deadlines, and giving several things back: of Node's timers at the most. */
const CARE = /^lib\/(pulse|deadline|do-all)\.ts$/;
const WIRE = /^lib\/wire\//;
/** virtio's tables: what drivers, devices and queues share. */
const VIRTIO = /^lib\/virtio\/(features|inflight|net|ring)\.ts$/;
const VIRTIO_CONTROL = /^lib\/virtio\//;
const VHOST_USER = /^lib\/vhost-user\//;
/** What a vhost-user session and its driver say to each other. */
const VHOST_CONTRACT = /^lib\/vhost-user\/types\.ts$/;
const ARENA = /^lib\/arena\//;
/** The arena's views: what both halves use. */
const VIEWS = /^lib\/arena\/(counters|frame-stack|frames-plan|gate|lengths|order|ring|segments)\.ts$/;
const NATIVE = /^native\/index\.ts$/;
const FRAMEWORK = /^lib\/framework\//;
const KERNEL = /^lib\/(bpf|netlink|pci)\//;
/** What a driver of a PCI function and its devio say to each other, and configuration space. */
const PCI_CONTRACT = /^lib\/pci\/(devio|config-space)\.ts$/;
const VFIO = /^lib\/vfio\//;
const UIO = /^lib\/uio\//;
const UNIX = /^lib\/unix\//;
const CAPTURE = /^lib\/capture\//;
const PKTIO = /^lib\/pktio\//;
const DEVIOS = /^lib\/devios\//;
const DRIVERS = /^lib\/drivers\//;
/** A driver's tables of registers and structs: no logic. */
const TABLES = /^lib\/drivers\/[^/]+\/regs\.ts$/;
const ENUMERATORS = /^lib\/enumerators\//;
const WORKERS = /^workers\//;
const APPS = /^workers\/apps\//;
const CLI = /^lib\/cli\//;
const NOT_CLI = /^(lib\/(?!cli\/)|workers\/|native\/)/;

/** Modules, what of ours they may import, and of what only types (gone after compilation). */
interface Layer {
  readonly name: string;
  readonly files: RegExp;
  readonly may: readonly RegExp[];
  readonly types?: readonly RegExp[];
}

/** The first that a module belongs to counts. */
const LAYERS: readonly Layer[] = [
  { name: 'errors', files: ERRORS, may: [ERRORS] },
  { name: 'queue contract', files: QUEUE, may: [] },
  { name: 'layout', files: LAYOUT, may: [ERRORS] },
  { name: 'care', files: CARE, may: [] },
  { name: 'wire', files: WIRE, may: [WIRE, ERRORS] },
  { name: 'virtio tables', files: VIRTIO, may: [VIRTIO] },
  {
    name: 'virtio',
    files: VIRTIO_CONTROL,
    may: [VIRTIO_CONTROL, ERRORS, PCI_CONTRACT, LAYOUT, CARE],
    types: [ARENA, FRAMEWORK],
  },
  {
    name: 'vhost-user',
    files: VHOST_USER,
    may: [VHOST_USER, VIRTIO_CONTROL, ARENA, UNIX, ERRORS, LAYOUT],
    types: [NATIVE, FRAMEWORK],
  },
  { name: 'arena views', files: VIEWS, may: [VIEWS, QUEUE] },
  { name: 'arena', files: ARENA, may: [ARENA, ERRORS, NATIVE], types: [QUEUE] },
  { name: 'native', files: NATIVE, may: [ERRORS] },
  { name: 'applications', files: APPS, may: [APPS, ERRORS, LAYOUT, QUEUE, WIRE] },
  {
    name: 'workers',
    files: WORKERS,
    may: [WORKERS, ERRORS, LAYOUT, QUEUE, WIRE, VIEWS, NATIVE],
    types: [ARENA],
  },
  { name: 'framework', files: FRAMEWORK, may: [FRAMEWORK, ERRORS], types: [/^lib\/pktio\/types\.ts$/, QUEUE] },
  { name: 'PCI contract', files: PCI_CONTRACT, may: [PCI_CONTRACT, ERRORS], types: [ARENA, FRAMEWORK, LAYOUT] },
  { name: 'kernel interfaces', files: KERNEL, may: [KERNEL, ERRORS, CARE, WIRE], types: [NATIVE] },
  { name: 'vfio', files: VFIO, may: [VFIO, KERNEL, ERRORS, CARE], types: [NATIVE] },
  { name: 'uio', files: UIO, may: [UIO, KERNEL, ERRORS, NATIVE, CARE] },
  { name: 'unix sockets', files: UNIX, may: [UNIX, ERRORS, NATIVE] },
  { name: 'captures', files: CAPTURE, may: [CAPTURE, ERRORS] },
  {
    name: 'enumerators',
    files: ENUMERATORS,
    may: [ENUMERATORS, FRAMEWORK, ERRORS, CARE, QUEUE, KERNEL],
    types: [NATIVE, DEVIOS],
  },
  {
    name: 'devios',
    files: DEVIOS,
    may: [
      ...[DEVIOS, FRAMEWORK, ARENA, CARE, ERRORS, LAYOUT, KERNEL, VFIO, UIO, UNIX, TABLES],
      ...[VIRTIO_CONTROL, VHOST_USER, WIRE],
    ],
    types: [NATIVE, DRIVERS],
  },
  { name: 'ports', files: PKTIO, may: [PKTIO, VIEWS, ERRORS, QUEUE, WIRE], types: [FRAMEWORK, DEVIOS] },
  {
    name: 'drivers',
    files: DRIVERS,
    may: [
      ...[DRIVERS, DEVIOS, FRAMEWORK, ARENA, PKTIO, CAPTURE, ERRORS, LAYOUT, CARE, QUEUE, WIRE],
      ...[VIRTIO_CONTROL, VHOST_CONTRACT, PCI_CONTRACT],
    ],
    types: [NATIVE, KERNEL, VHOST_USER],
  },
  { name: 'command line', files: CLI, may: [CLI, NOT_CLI] },
  { name: 'engine and the rest', files: /^lib\//, may: [NOT_CLI] },
];

/** What a driver's `queue.ts` may import, and what that imports in turn. */
const DATA_HALF = [ERRORS, LAYOUT, QUEUE, WIRE, VIEWS, VIRTIO, DRIVERS];

/** Who may use which package: everybody else has none. */
const PACKAGES: readonly (readonly [RegExp, readonly string[]])[] = [
  [CLI, ['commander']],
  [/^lib\/engine\//, ['piscina']],
];

/** Who may load the addon. */
const LOADERS = /^(lib\/engine\/engine\.ts|lib\/cli\/.*|workers\/main\.ts)$/;

const isOurs = ({ to }: Import): boolean => /^(lib|workers|native|bench|test)\//.test(to);
const isNode = ({ to }: Import): boolean => to.startsWith('node:');

/** What `module` imports and may not, as sentences. */
function breaches({ path, imports }: Module): string[] {
  const layer = LAYERS.find(({ files }) => files.test(path));
  if (layer === undefined) return [`${path} belongs to no layer: say in test/imports.test.ts what it may import`];
  const { name, may, types = [] } = layer;
  const packages = PACKAGES.filter(([files]) => files.test(path)).flatMap(([, names]) => names);
  const allowed = (edge: Import): boolean => {
    if (isNode(edge)) return true;
    if (!isOurs(edge)) return packages.includes(edge.to);
    return (edge.value ? may : [...may, ...types]).some((pattern) => pattern.test(edge.to));
  };
  return imports
    .filter((edge) => !allowed(edge))
    .map(({ to, value }) => `${path} (${name}) may not import ${to}${value ? '' : ', not even its types'}`);
}

const modules = readModules('lib', 'workers', 'native');

describe('imports', () => {
  it('go down the layers only', () => {
    expect(modules.length).toBeGreaterThan(50);
    expect(modules.flatMap(breaches)).toEqual([]);
  });

  it("of a driver's data half lead to nothing but tables, packet formats and the arena's views", () => {
    const halves = modules.filter(({ path }) => /^lib\/drivers\/[^/]+\/(?:[a-z]+-)?queue\.ts$/.test(path));
    expect(halves.length).toBeGreaterThan(2);
    const outside = halves.flatMap(({ path }) =>
      closure(modules, path)
        .filter((to) => !DATA_HALF.some((pattern) => pattern.test(to)))
        .map((to) => `${path} → ${to}`),
    );
    expect(outside).toEqual([]);
  });

  it("of a driver's data half are none of Node's: it is nothing but memory and arithmetic", () => {
    const halves = modules.filter(({ path }) => /^lib\/drivers\/[^/]+\/(?:[a-z]+-)?queue\.ts$/.test(path));
    const reached = new Set(halves.flatMap(({ path }) => closure(modules, path)));
    const foreign = modules
      .filter(({ path }) => reached.has(path) && !ERRORS.test(path))
      .flatMap(({ imports }) => imports.filter(isNode));
    expect(foreign).toEqual([]);
  });

  it('of nothing but the command line are the command line', () => {
    const cli = modules.flatMap(({ imports }) => imports.filter(({ from, to }) => CLI.test(to) && !CLI.test(from)));
    expect(cli).toEqual([]);
  });

  it('load the addon in few places: everybody else is given it', () => {
    const loading = modules.flatMap(({ imports }) =>
      imports.filter(({ to, names }) => NATIVE.test(to) && (names.includes('loadNative') || names.includes('*'))),
    );
    expect(loading.map(({ from }) => from).filter((from) => !LOADERS.test(from))).toEqual([]);
    expect(loading.length).toBeGreaterThan(1);
  });

  it('have no circles', () => {
    expect(findCycle(modules)).toBeUndefined();
  });

  it('do nothing: a module declares, and only the program of the command line runs', () => {
    const effects = modules.filter(({ path, effects: all }) => all.length > 0 && path !== 'lib/cli/main.ts');
    expect(effects.map(({ path, effects: all }) => `${path}: ${all.join(' | ')}`)).toEqual([]);
  });
});

describe('this test', () => {
  const check = (path: string, text: string) => breaches(parseModule(path, text));

  it.each([
    ['lib/framework/x.ts', "import { Arena } from '../arena/arena.ts';", 'framework'],
    ['lib/framework/x.ts', "import type { MemoryDevio } from '../devios/memory.ts';", 'framework'],
    ['lib/framework/x.ts', "export * from '../drivers/null/device.ts';", 'framework'],
    ['lib/wire/x.ts', "import type { Burst } from '../queue.ts';", 'wire'],
    ['lib/arena/ring.ts', "import { Arena } from './arena.ts';", 'arena views'],
    ['workers/x.ts', "import { Arena } from '../lib/arena/arena.ts';", 'workers'],
    ['workers/x.ts', "const x = await import('../lib/framework/framework.ts');", 'workers'],
    ['workers/apps/x.ts', "import { loadNative } from '../../native/index.ts';", 'applications'],
    ['lib/engine/x.ts', "import { show } from '../cli/text.ts';", 'engine'],
    ['lib/engine/x.ts', "type T = import('../cli/text.ts').Text;", 'engine'],
    ['lib/pktio/x.ts', "import 'commander';", 'ports'],
    ['lib/cli/x.ts', "import { pieces } from '../../bench/pieces.ts';", 'command line'],
    ['other/x.ts', '', 'belongs to no layer'],
  ])('finds the breach in %s: %s', (path, text, layer) => {
    expect(check(path, text).join()).toContain(layer);
  });

  it.each([
    ['workers/x.ts', "import type { WasmMemory } from '../lib/arena/reserve.ts';"],
    [
      'lib/arena/frame-stack.ts',
      "import type { FrameStack } from '../queue.ts';\nimport { DEPOT } from './frames-plan.ts';",
    ],
    ['lib/framework/x.ts', "import { once } from 'node:events';\nimport type { Pktio } from '../pktio/types.ts';"],
    ['lib/cli/x.ts', "import { Command } from 'commander';\nimport { openEngine } from '../engine/engine.ts';"],
  ])('lets pass what %s may import', (path, text) => {
    expect(check(path, text)).toEqual([]);
  });

  it('finds circles, and what a module does when it is loaded', () => {
    const a = parseModule('lib/a.ts', "import { b } from './b.ts';");
    const b = parseModule('lib/b.ts', "import { c } from './c.ts';");
    const c = (type: string) => parseModule('lib/c.ts', `import ${type}{ a } from './a.ts';`);
    expect(findCycle([a, b, c('')])).toEqual(['lib/a.ts', 'lib/b.ts', 'lib/c.ts', 'lib/a.ts']);
    expect(findCycle([a, b, c('type ')])).toBeUndefined();
    const { effects } = parseModule(
      'lib/x.ts',
      "import './y.ts';\nlet n = 0;\nconst m = new Map();\nprocess.on('exit', f);\nexport function f() {}",
    );
    expect(effects).toEqual(['let n = 0;', "process.on('exit', f);"]);
  });
});
