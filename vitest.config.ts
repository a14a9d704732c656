import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const dist = (path: string): string => fileURLToPath(new URL(`dist/${path}`, import.meta.url));

export default defineConfig({
  resolve: {
    // What goes through workers imports the package by its own name, as a user would: that is what was built.
    alias: [
      { find: /^linecard$/, replacement: dist('lib/index.js') },
      { find: /^linecard\/queue$/, replacement: dist('lib/queue.js') },
      { find: /^linecard\/apps\/(.+)$/, replacement: dist('workers/apps/$1.js') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    // A crash in native code takes its process with it: one process per test file.
    pool: 'forks',
    // Workers are pinned: the engines of two files at once would fight for the same cpus.
    fileParallelism: false,
    testTimeout: 20_000,
    // On a machine that others use, a thread may wait for its cpu longer than what it is tested for. A test that passes
    // only when tried again says so in its line: (retry x1).
    retry: process.env.CI ? 2 : 0,
    // Run by Node itself, like in the workers.
    server: { deps: { external: [/\/dist\//] } },
  },
});
