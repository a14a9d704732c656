// Builds the addon: by the node-gyp inside npm when there is one, without downloading Node's headers when they are
// installed; otherwise by the C++ compiler alone with the headers of the package node-api-headers.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const prefix = join(dirname(process.execPath), '..');
const gyp = process.env.npm_config_node_gyp;

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  return status === 0;
}

function byNodeGyp() {
  return run(process.execPath, [gyp, 'rebuild', '--silent', `--nodedir=${prefix}`]);
}

function byCompiler() {
  const require = createRequire(import.meta.url);
  // binding.gyp is the one list of sources, defines and flags.
  const [target] = JSON.parse(readFileSync(join(root, 'binding.gyp'), 'utf8')).targets;
  const includes = [require('node-api-headers').include_dir, require('node-addon-api').include_dir.replaceAll('"', '')];
  mkdirSync(join(root, 'build/Release'), { recursive: true });
  return run(process.env.CXX ?? 'g++', [
    '-shared',
    '-fPIC',
    ...target.cflags_cc,
    ...target.defines.map((d) => `-D${d}`),
    '-DBUILDING_NODE_EXTENSION',
    ...includes.map((i) => `-I${i}`),
    ...target.sources,
    '-o',
    'build/Release/linecard.node',
  ]);
}

const headers = existsSync(join(prefix, 'include/node/node_api.h'));
const built = gyp && existsSync(gyp) && headers ? byNodeGyp() : byCompiler();
if (!built) {
  console.error('linecard: the native addon did not build: see above; it needs g++, make and python3 (Debian: apt-get install g++ make python3), then run "npm run build"');
  process.exit(1);
}
