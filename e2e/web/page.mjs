// The page on the real binary: starts `mesos local`, gives it a task named `ui-probe`, and drives the page in Chromium.
//   node e2e/web/page.mjs [--mesos target/release/mesos] [--screenshots DIR]
// Needs `npm ci` in web/ (for playwright-core), a `mesos` built with the bundle, and /usr/bin/chromium.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const READY_MS = 30_000;
const STOP_MS = 10_000;
const root = fileURLToPath(new URL('../../', import.meta.url));
const option = (name) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);
const mesos = resolve(option('--mesos') ?? process.env.MESOS_BIN ?? join(root, 'target/release/mesos'));
const screenshots = option('--screenshots');

const workDir = mkdtempSync(join(tmpdir(), 'mesos-page-'));
const port = await freePort();
const master = `127.0.0.1:${port}`;
const cluster = spawn(mesos, ['local', '--agents', '2', '--port', String(port), '--work-dir', workDir], {
  stdio: ['ignore', 'inherit', 'inherit'],
});
const ended = new Promise((done) => cluster.once('exit', done));
let broken = '';
cluster.once('error', (error) => (broken = error.message));
cluster.once('exit', (code, signal) => (broken ||= `exit ${code ?? signal}`));

try {
  await ready(`http://${master}/ready`);
  const probe = ['spawn', '--name', 'ui-probe', '--cpus', '0.1', '--command', 'while true; do date; sleep 1; done'];
  run(mesos, probe, { MESOS_MASTER: master });
  const page = [join(root, 'web/test/page.mjs'), '--url', `http://${master}`];
  run(process.execPath, screenshots ? [...page, '--screenshots', resolve(screenshots)] : page, {});
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  if (cluster.exitCode === null && !broken) {
    cluster.kill('SIGTERM');
    const force = setTimeout(() => cluster.kill('SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(force);
  }
  rmSync(workDir, { recursive: true, force: true });
}

async function ready(url) {
  const deadline = Date.now() + READY_MS;
  while (Date.now() < deadline) {
    if (broken) throw new Error(`${mesos} local did not start: ${broken}`);
    const answer = await fetch(url).catch(() => null);
    if (answer?.ok) return;
    await new Promise((next) => setTimeout(next, 100));
  }
  throw new Error(`${url} was not ready within ${READY_MS / 1000} s`);
}

function run(program, args, env) {
  const { status, error } = spawnSync(program, args, { stdio: 'inherit', env: { ...process.env, ...env } });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}`);
}

function freePort() {
  return new Promise((done, fail) => {
    const server = createServer().once('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const { port: free } = server.address();
      server.close(() => done(free));
    });
  });
}
