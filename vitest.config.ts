import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

/**
 * Where Node keeps what it has compiled (nodejs.org/api/module.html#module-compile-cache), for the processes of Vitest and those that the tests start.
 * Most of the CPU time of a start is TypeScript whose types are removed. A file is compiled again when its text has changed.
 */
const compiled = join(import.meta.dirname, 'node_modules/.cache/compiled');

const common = {
  env: { NODE_COMPILE_CACHE: compiled },
  setupFiles: ['test/support/no-network.ts'],
  testTimeout: 90_000,
  // A busy machine takes its time; what comes is looked for until then.
  expect: { poll: { timeout: 15_000 } },
  hookTimeout: 60_000,
};

/** Several real processes at once, with real servers beside them. */
const replicas = ['test/replicas/**/*.test.ts'];

const real = ['test/clients/**/*.test.ts', 'test/upstream-real/**/*.test.ts', 'test/support/docker-registry.test.ts'];

/** Where a machine reads the results, besides what people read. */
const report = process.env['TEST_REPORT'];

// oxlint-disable-next-line import/no-default-export -- vitest asks for it
export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
    projects: [
      { test: { ...common, name: 'mirror', include: ['test/**/*.test.ts'], exclude: [...real, ...replicas] } },
      // What drives real clients and servers installs those that are missing, once.
      {
        test: {
          ...common,
          name: 'replicas',
          include: replicas,
          testTimeout: 180_000,
          globalSetup: ['test/support/install-tools.ts'],
        },
      },
      {
        test: {
          ...common,
          name: 'clients',
          include: real,
          testTimeout: 180_000,
          globalSetup: ['test/support/install-tools.ts'],
        },
      },
    ],
  },
});
