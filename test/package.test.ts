/** The package itself: what `npm ci` and a user's `npm install` rely on. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (name: string): string => readFileSync(`${root}${name}`, 'utf8');

type Versions = Record<string, string>;

interface LockEntry {
  readonly dependencies?: Versions;
  readonly devDependencies?: Versions;
  readonly optionalDependencies?: Versions;
}

const manifest = JSON.parse(read('package.json')) as {
  dependencies: Versions;
  devDependencies: Versions;
  bin: Versions;
  exports: Record<string, string | { types: string; default: string }>;
};
const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, LockEntry> };

/** True when the lock file has `name`, as seen from the package at `from`. */
function locked(from: string, name: string): boolean {
  for (let at = from; ; at = dirname(at)) {
    if (posix.join(at, 'node_modules', name) in lock.packages) return true;
    if (at === '.' || at === '') return false;
  }
}

describe('the lock file', () => {
  it('has an entry for every dependency of every package, those for other platforms too: npm ci refuses it otherwise', () => {
    const missing = Object.entries(lock.packages).flatMap(([path, { dependencies, optionalDependencies }]) =>
      Object.keys({ ...dependencies, ...optionalDependencies })
        .filter((name) => !locked(path, name))
        .map((name) => `${name} of ${path}`),
    );
    expect(missing).toEqual([]);
  });

  it('is in step with package.json, whose versions are exact', () => {
    const own = lock.packages[''];
    expect(own?.dependencies).toEqual(manifest.dependencies);
    expect(own?.devDependencies).toEqual(manifest.devDependencies);
    for (const version of Object.values({ ...manifest.dependencies, ...manifest.devDependencies })) {
      expect(version).toMatch(/^\d+\.\d+\.\d+$/);
    }
  });

  it('names no registry: whichever is configured is asked', () => {
    expect(read('package-lock.json')).not.toMatch(/"resolved"|registry|\.tgz/);
  });
});

describe('the package', () => {
  it('has what it says it exports and runs', () => {
    const targets = Object.entries(manifest.exports).flatMap(([name, target]) => {
      if (typeof target === 'string') return [target];
      return [target.types, target.default].map((path) => (name.includes('*') ? path.replace('*', 'l2fwd') : path));
    });
    for (const path of [...targets, ...Object.values(manifest.bin)])
      expect(existsSync(`${root}${path}`), path).toBe(true);
  });

  it('packs what is needed to run it and to build the addon, and nothing of the workshop', () => {
    const { stdout, stderr } = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(stdout, stderr).not.toBe('');
    const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }];
    const paths = files.map(({ path }) => path);
    for (const needed of [
      'binding.gyp', 'native/build.mjs', 'native/src/addon.cc', 'native/src/linecard.h', 'dist/native/index.js',
      'dist/lib/index.js', 'dist/lib/index.d.ts', 'dist/lib/cli/main.js', 'dist/workers/main.js', 'dist/workers/apps/l2fwd.js', 'README.md',
    ]) expect(paths).toContain(needed); // biome-ignore format: a list
    expect(paths.filter((path) => /^(test|build|bench|\.ci|node_modules)\/|^dist\/bench|\.node$/.test(path))).toEqual(
      [],
    );
  });

  it('builds every source of the addon that there is', () => {
    const { sources } = (JSON.parse(read('binding.gyp')) as { targets: [{ sources: string[] }] }).targets[0];
    const { stdout } = spawnSync('sh', ['-c', 'ls native/src/*.cc'], { cwd: root, encoding: 'utf8' });
    expect([...sources].sort()).toEqual(stdout.trim().split('\n'));
  });
});
