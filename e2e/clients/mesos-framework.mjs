// The npm package mesos-framework, unmodified, against our gateway.
//
//   node mesos-framework.mjs <host:port> [tasks]
//
// It subscribes, launches the tasks and one more that fails, and acknowledges their updates. It exits
// with 0 when all but the last are TASK_FINISHED, the last is TASK_FAILED, and each update with a uuid
// was acknowledged.
import { mkdtempSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const TIMEOUT_MS = 90_000;

const require = createRequire(import.meta.url);
const { Scheduler, Mesos } = require('mesos-framework');
const mesos = Mesos.getMesos();

const [master, wanted = '3'] = process.argv.slice(2);
if (!/^[^:]+:\d+$/.test(master ?? '')) {
  console.error('usage: node mesos-framework.mjs <host:port> [tasks]');
  process.exit(2);
}
const [host, port] = master.split(':');
const count = Number(wanted);

const shell = (command) => new mesos.CommandInfo(null, null, true, command, null, null);
const small = { cpus: 0.1, mem: 32, ports: 0, disk: 0 };

const scheduler = new Scheduler({
  masterUrl: host,
  port: Number(port),
  frameworkName: 'mesos-framework-client',
  frameworkFailoverTimeout: 60,
  // Longer than the 15 s between heartbeats; the package's own 10 s would give up a healthy stream.
  masterConnectionTimeout: 40,
  restartStates: ['TASK_LOST'],
  logging: { path: mkdtempSync(join(tmpdir(), 'mesos-framework-')), fileName: 'client.log', level: 'warn' },
  tasks: {
    echo: { priority: 1, instances: count, commandInfo: shell('echo hello'), resources: small },
    fails: { priority: 2, instances: 1, commandInfo: shell('exit 3'), resources: small },
  },
});

const states = new Map();
let toAcknowledge = 0;
let acknowledged = 0;
let finished = false;

function finish(code, text) {
  if (finished) return;
  finished = true;
  console.log(text);
  if (code !== 0) console.log('states:', Object.fromEntries(states));
  scheduler.once('sent_teardown', () => process.exit(code));
  scheduler.teardown();
  // Where the gateway is gone, nobody answers the teardown.
  setTimeout(() => process.exit(code), 2000);
}

function check() {
  const all = [...states.values()];
  const ended = (state) => all.filter((seen) => seen === state).length;
  if (ended('TASK_FINISHED') === count && ended('TASK_FAILED') === 1 && acknowledged >= toAcknowledge) {
    finish(0, `ok: ${count} tasks finished, 1 failed as it should, ${acknowledged} updates acknowledged`);
  }
}

scheduler.on('subscribed', ({ frameworkId, mesosStreamId }) => {
  console.log(`subscribed as ${frameworkId}, stream ${mesosStreamId}`);
});
scheduler.on('update', ({ status }) => {
  console.log(`${status.task_id.value}: ${status.state}`);
  states.set(status.task_id.value, status.state);
  // The package counts the acknowledgement of this update right after it handled it.
  if (status.uuid) toAcknowledge += 1;
  check();
});
scheduler.on('sent_acknowledge', () => {
  acknowledged += 1;
  check();
});
scheduler.on('error', (error) => finish(1, `error: ${error.message ?? JSON.stringify(error)}`));
scheduler.on('ready', () => scheduler.subscribe());
setTimeout(() => finish(1, `not done within ${TIMEOUT_MS} ms`), TIMEOUT_MS);
