import { defineConfig } from 'vitest/config';
import solid from 'vite-plugin-solid';

// The gateway that `npm run dev` talks to. Any running cluster will do.
const gateway = process.env.MESOS_UI_URL ?? 'http://127.0.0.1:5050';

export default defineConfig({
  // Relative addresses let the page live behind a proxy path as well as at `/`.
  base: './',
  plugins: [solid()],
  build: {
    target: 'es2022',
    // dist/.gitignore has to survive a build; stale bundles are removed by `prebuild`.
    emptyOutDir: false,
    assetsDir: 'assets',
    reportCompressedSize: false,
  },
  server: { proxy: { '/v1': { target: gateway, changeOrigin: true } } },
  test: { environment: 'node', include: ['src/**/*.test.ts'] },
});
