// Builds the addon: by the node-gyp inside npm, when Node's headers are installed beside Node (nothing is downloaded) and
// there is a Python; otherwise by the C++ compiler alone, with the headers of the package node-api-headers.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const prefix = join(dirname(process.execPath), '..');
const output = 'build/Release/linecard.node';

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) console.error(`linecard: ${command} could not be run: ${error.message}`);
  return status === 0;
}

/** Path of node-gyp's program, or undefined when it would not work here. npm tells where its own one is. */
function nodeGyp() {
  const gyp = process.env.npm_config_node_gyp;
  const headers = existsSync(join(prefix, 'include/node/node_api.h'));
  const python = spawnSync('python3', ['--version'], { stdio: 'ignore' }).status === 0;
  return gyp && existsSync(gyp) && headers && python ? gyp : undefined;
}

function byNodeGyp(gyp) {
  // Not "rebuild": what is up to date stays, also under the feet of programs that run now.
  return run(process.execPath, [gyp, 'configure', 'build', '--silent', `--nodedir=${prefix}`]);
}

/** Directories of the header packages, or undefined when they are not installed. */
function headerPackages() {
  const require = createRequire(import.meta.url);
  try {
    return [require('node-api-headers').include_dir, require('node-addon-api').include_dir.replaceAll('"', '')];
  } catch (error) {
    console.error(`linecard: ${error.message.split('\n')[0]}; run "npm ci" first`);
    return undefined;
  }
}

function byCompiler() {
  // binding.gyp is the one list of sources, defines and flags.
  const [target] = JSON.parse(readFileSync(join(root, 'binding.gyp'), 'utf8')).targets;
  const includes = headerPackages();
  if (includes === undefined) return false;
  mkdirSync(join(root, dirname(output)), { recursive: true });
  const built = run(process.env.CXX ?? 'g++', [
    '-shared',
    '-fPIC',
    ...target.cflags_cc,
    ...target.defines.map((d) => `-D${d}`),
    '-DBUILDING_NODE_EXTENSION',
    ...includes.map((i) => `-I${i}`),
    ...target.sources,
    '-o',
    `${output}.new`,
  ]);
  if (built) renameSync(join(root, `${output}.new`), join(root, output));
  return built;
}

const gyp = nodeGyp();
if (!(gyp === undefined ? byCompiler() : byNodeGyp(gyp))) {
  console.error(
    'linecard: the native addon was not built (see above). It needs g++, make and python3: ' +
      'on Debian "apt-get install g++ make python3", then "npm run build".',
  );
  process.exit(1);
}
