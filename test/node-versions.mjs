// Runs the tests of memory, addon, drivers and engine on each supported Node, all with the addon that was built once:
//   npm run test:node [-- 22 26 | -- --others]
// `--others` is what CI runs after `npm test`. It leaves out the version that runs this, which has had all of it, and tests
// of which only the language is used: tables, protocols, rings and queues over memory that tests make. What V8, libuv,
// Node-API or worker threads have a part in runs on the newest; of that, versions in between, whose ends on both sides
// have been tested, have the addon, threads, and engines from start to end, good and bad.
// Node itself comes as an npm package, into node_modules/.cache (or LINECARD_NODE_CACHE).
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** By major version. The one that runs this is used as it is. */
const VERSIONS = { 20: '20.20.2', 22: '22.23.3', 24: '24.21.0', 26: '26.10.0' };
/** Parts of the paths of test files. */
const RUNTIME = ['arena/', 'native/', 'unix/', 'devios/', 'engine/', 'workers/', 'system/engine-', 'system/demo'];
const BETWEEN = ['arena/', 'native/', 'unix/', 'workers/', 'system/engine-failures', 'system/demo'];
const LANGUAGE = ['vhost-user/', 'pktio/', 'drivers/'];
/** What is repeated to find leaks is repeated less often here: they do not depend on the version. */
const REPEATS = '10';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cache = process.env.LINECARD_NODE_CACHE ?? join(root, 'node_modules/.cache/linecard-node');
const own = Number(process.versions.node.split('.')[0]);

function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (error) console.error(`${command}: ${error.message}`);
  return status === 0;
}

/** Path of Node `major`, or undefined when it could not be had. */
function nodeOf(major) {
  if (major === own) return process.execPath;
  const version = VERSIONS[major];
  const name = `node-linux-${process.arch}`;
  const folder = join(cache, version);
  const node = join(folder, 'node_modules', name, 'bin/node');
  if (existsSync(node)) return node;
  mkdirSync(folder, { recursive: true });
  console.log(`installing ${name}@${version} into ${folder}`);
  const options = ['--prefix', folder, '--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--ignore-scripts'];
  return run('npm', ['install', ...options, `${name}@${version}`], { stdio: ['ignore', 'ignore', 'inherit'] })
    ? node
    : undefined;
}

function test(node, parts) {
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  // Programs that a test starts as "node" are of that version too.
  const env = { LINECARD_REPEATS: REPEATS, ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` };
  return run(node, [vitest, 'run', ...parts.map((part) => `test/${part}`)], { env });
}

const all = Object.keys(VERSIONS).map(Number);
const named = process.argv.slice(2);
const others = named[0] === '--others';
const wanted = others ? all.filter((major) => major !== own) : named.map(Number);
const partsOf = (major) => {
  if (!others) return [...RUNTIME, ...LANGUAGE];
  return major === Math.max(...all) ? RUNTIME : BETWEEN;
};
const unknown = wanted.filter((major) => !(major in VERSIONS));
if (unknown.length > 0) {
  console.error(`no such version: ${unknown.join(', ')}; there are ${all.join(', ')}`);
  process.exit(2);
}

const results = [];
for (const major of wanted.length > 0 ? wanted : all) {
  const node = nodeOf(major);
  const version =
    node &&
    spawnSync(node, ['-p', 'process.version + " (V8 " + process.versions.v8 + ")"'], {
      encoding: 'utf8',
    }).stdout.trim();
  console.log(`\n=== Node ${version || `${major}: not to be had`} ===`);
  const start = performance.now();
  const passed = Boolean(version) && test(node, partsOf(major));
  results.push({ version: version || String(major), passed, seconds: (performance.now() - start) / 1000 });
}

console.log('\n=== Node versions ===');
for (const { version, passed, seconds } of results) {
  console.log(`${passed ? 'passed' : 'FAILED'}  ${version}  ${seconds.toFixed(1)} s`);
}
process.exit(results.every(({ passed }) => passed) ? 0 : 1);
