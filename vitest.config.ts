import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A crash in native code takes its process with it: one process per test file.
    pool: 'forks',
    testTimeout: 20_000,
  },
});
