import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    include: ['tests/**/*.test.ts'],
    // The real worker and the real command run from dist/, so it is built once before the first test.
    globalSetup: ['tests/support/build.ts', 'tests/support/temporary-folder.ts'],
    // Two cores: one for the tests, one for the processes they start.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // tfjs ships ES modules whose imports lack extensions; vite resolves them, and one tfjs-core instance serves all.
    server: { deps: { inline: [/@tensorflow\//] } },
  },
});
