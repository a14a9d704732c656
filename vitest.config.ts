import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const dist = (path: string): string => fileURLToPath(new URL(`dist/${path}`, import.meta.url));

/** Tests that start engines, programs or network namespaces. */
const SYSTEM = 'test/system/**/*.test.ts';
/** Tests that boot a virtual machine: `npm run test:vm`. */
const VM = 'test/vm/**/*.test.ts';
/** Tests that open files and pipes, map memory, or call the addon: what one leaves behind must not meet the next. */
const OWN_PROCESS =
  'test/{arena,bench,capture,control,devios,drivers,grant,keeper,native,netlink,uio,unix,vfio,vhost-user}/**/*.test.ts';

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
    // In processes: the tests look at the fds and threads of theirs.
    pool: 'forks',
    maxWorkers: availableParallelism(),
    testTimeout: 20_000,
    // Run by Node itself, like in the workers.
    server: { deps: { external: [/\/dist\//] } },
    projects: [
      // As many files at once as there are cpus. A process takes one file after the other: starting one would take longer
      // than most files do.
      {
        extends: true,
        test: { name: 'units', include: ['test/**/*.test.ts'], exclude: [SYSTEM, VM, OWN_PROCESS], isolate: false },
      },
      { extends: true, test: { name: 'resources', include: [OWN_PROCESS] } },
      // After them, one file at a time: workers are pinned, so the engines of two files would fight for the same cpus;
      // and interfaces, huge pages and the processor's time are the whole machine's.
      { extends: true, test: { name: 'system', include: [SYSTEM], fileParallelism: false } },
      { extends: true, test: { name: 'vm', include: [VM], fileParallelism: false } },
    ],
  },
});
