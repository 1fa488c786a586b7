// A made-up cluster behind the gateway's API, for developing and testing the page without one.
//   node test/mock.mjs [--port 5050] [--tasks 3000] [--empty]
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};
const TICK_MS = 250;

/**
 * Starts the mock on 127.0.0.1. `requests` collects "METHOD path" of every API call, `finish(key)` ends a task,
 * `dropStreams()` cuts every event stream as a dying gateway would.
 */
export async function startMock({ port = 0, tasks = 3000, empty = false, token, dist = DIST } = {}) {
  const cluster = makeCluster(empty ? 0 : tasks, empty);
  const requests = [];
  const streams = new Set();
  const server = createServer((request, response) => {
    handle(request, response).catch((error) => {
      response.statusCode = 500;
      response.end(String(error));
    });
  });

  async function handle(request, response) {
    const url = new URL(request.url, 'http://mock');
    if (!url.pathname.startsWith('/v1/')) return serveFile(dist, url.pathname, response);
    requests.push(`${request.method} ${url.pathname}`);
    if (token && request.headers.authorization !== `Bearer ${token}`) {
      response.writeHead(401, { 'content-type': 'application/json', 'www-authenticate': 'Bearer realm="mesos"' });
      return response.end(JSON.stringify({ error: { message: 'a token is needed' } }));
    }
    if (url.pathname === '/v1/events') return openStream(request, response);
    const [status, body] = answer(cluster, request.method, url);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  }

  function openStream(request, response) {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    send(response, 'snapshot', cluster.snapshot());
    streams.add(response);
    request.on('close', () => streams.delete(response));
  }

  const timer = setInterval(() => {
    const delta = cluster.tick();
    for (const stream of streams) send(stream, delta ? 'delta' : 'heartbeat', delta ?? {});
  }, TICK_MS);
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));

  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests,
    finish: (key) => cluster.update(key, 'TASK_FINISHED', { exit_code: 0, message: 'Command exited with status 0' }),
    dropStreams: () => streams.forEach((stream) => stream.destroy()),
    close() {
      clearInterval(timer);
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

function send(response, event, data) {
  response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

async function serveFile(dist, path, response) {
  const name = normalize(path === '/' ? '/index.html' : path).replace(/^(\.\.[/\\])+/, '');
  try {
    const body = await readFile(join(dist, name));
    // The policy that a careful gateway sends: the page has to live with it.
    response.writeHead(200, {
      'content-type': TYPES[extname(name)] ?? 'application/octet-stream',
      'content-security-policy': "default-src 'self'; style-src 'self'; img-src 'self' data:",
    });
    response.end(body);
  } catch {
    response.writeHead(404);
    response.end('not found');
  }
}

function answer(cluster, method, url) {
  const parts = url.pathname.split('/').slice(2).map(decodeURIComponent);
  const [kind, frameworkId, taskId, files, name] = parts;
  if (kind === 'cluster') return [200, cluster.facts()];
  if (kind === 'agents') return [200, { agents: cluster.agents }];
  if (kind === 'frameworks') return [200, { frameworks: cluster.frameworks }];
  if (kind === 'roles') return [200, { roles: ROLES }];
  if (kind === 'explain') return [200, EXPLANATION];
  if (kind !== 'tasks') return [404, { error: { message: 'no such resource' } }];
  if (!frameworkId) return [200, { tasks: [...cluster.tasks.values()].slice(0, 100), total: cluster.tasks.size }];
  const key = `${frameworkId}/${taskId}`;
  const task = cluster.tasks.get(key);
  if (!task) return [404, { error: { message: `task ${taskId} is not known` } }];
  if (files === 'files') return readLog(cluster, key, name, url.searchParams);
  if (method === 'DELETE') return killTask(cluster, key, task);
  return [200, task];
}

const ROLES = [
  { role: '*', weight: 1, allocated: { cpus: 3 }, share: 0.05, framework_ids: [{ value: 'f-1' }] },
  { role: 'ads', weight: 2.5, guarantee: { cpus: 4 }, limit: { cpus: 8, mem: 16384 }, consumed: { cpus: 6 }, share: 0.4 },
];
const EXPLANATION = {
  role: 'ads',
  summary: 'the role has used its limit of 8 cpus',
  blockers: [{ why: 'limit', detail: 'the limit of ads is 8 cpus', agents: 12 }],
  remedies: [{ text: 'raise the limit of ads to 9 cpus' }],
};

function killTask(cluster, key, task) {
  if (task.name === 'immortal') return [409, { error: { message: 'the framework owns this task and said no' } }];
  cluster.update(key, 'TASK_KILLING', {});
  setTimeout(() => cluster.update(key, 'TASK_KILLED', { message: 'Command terminated with signal Terminated' }), 600);
  return [202, {}];
}

function readLog(cluster, key, name, query) {
  const bytes = cluster.log(key, name);
  const offset = Number(query.get('offset') ?? 0);
  const length = Number(query.get('length') ?? 65536);
  return [200, { offset, data: bytes.subarray(offset, offset + length).toString('utf8'), size: bytes.length }];
}

// Everything made up comes from one seeded generator: the same cluster on every run.
function generator(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function makeCluster(taskCount, empty) {
  const random = generator(7);
  const started = Date.now();
  const term = '7d0f3c52-9a41-4be0-8f57-2f6a9f0be4c1';
  const agents = empty ? [] : Array.from({ length: 12 }, (_, i) => makeAgent(i, term, started));
  const frameworks = empty
    ? []
    : ['marathon', 'chronos', 'mesos', 'spark-etl', 'batch'].map((name, i) => makeFramework(name, i, term, started));
  const tasks = new Map();
  const logs = new Map();
  let changed = new Set();
  let removed = [];

  function add(task) {
    const key = `${task.framework_id}/${task.id}`;
    tasks.set(key, task);
    changed.add(key);
  }
  if (!empty) {
    add(
      makeTask({
        random,
        name: 'ui-probe',
        index: 0,
        framework: frameworks[2],
        agent: agents[0],
        state: 'TASK_RUNNING',
        age: 95_000,
      }),
    );
    add(
      makeTask({
        random,
        name: 'immortal',
        index: 1,
        framework: frameworks[0],
        agent: agents[1],
        state: 'TASK_RUNNING',
        age: 400_000,
      }),
    );
    for (let i = 2; i < taskCount; i += 1) {
      const framework = frameworks[random(frameworks.length)];
      add(
        makeTask({
          random,
          index: i,
          framework,
          agent: agents[random(10)],
          state: pickState(random),
          age: 120_000 + random(86_400_000),
        }),
      );
    }
  }
  changed = new Set();

  function recount() {
    for (const owner of [...agents, ...frameworks]) owner.used = { cpus: 0, mem: 0, disk: 0, gpus: 0 };
    for (const framework of frameworks) framework.tasks = {};
    for (const agent of agents) agent.tasks = 0;
    const agentOf = new Map(agents.map((agent) => [agent.id, agent]));
    const frameworkOf = new Map(frameworks.map((framework) => [framework.id, framework]));
    for (const task of tasks.values()) {
      const framework = frameworkOf.get(task.framework_id);
      framework.tasks[task.state] = (framework.tasks[task.state] ?? 0) + 1;
      if (!/RUNNING|ST|KILLING/.test(task.state)) continue;
      const agent = agentOf.get(task.agent_id);
      agent.tasks += 1;
      for (const kind of ['cpus', 'mem', 'disk', 'gpus']) {
        agent.used[kind] += task.resources[kind] ?? 0;
        framework.used[kind] += task.resources[kind] ?? 0;
      }
    }
    for (const agent of agents) {
      const share = agent.state === 'ACTIVE' ? (3 + random(10)) / 100 : 0;
      agent.offered = {
        cpus: Math.round(agent.total.cpus * share),
        mem: Math.round(agent.total.mem * share),
        disk: 0,
        gpus: 0,
      };
    }
  }

  function facts() {
    const sum = (part) => {
      const amounts = { cpus: 0, mem: 0, disk: 0, gpus: 0 };
      for (const agent of agents) for (const kind of Object.keys(amounts)) amounts[kind] += agent[part][kind] ?? 0;
      return amounts;
    };
    const states = {};
    for (const task of tasks.values()) states[task.state] = (states[task.state] ?? 0) + 1;
    const active = agents.filter((agent) => agent.state === 'ACTIVE').length;
    const unreachable = agents.filter((agent) => agent.state === 'UNREACHABLE').length;
    return {
      cluster: 'prod-east',
      version: '0.1.0',
      leader: { allocator: term, registry: 'c2a8e7b4-1d0e-4a6d-9b1c-5fd3a2c6e812' },
      gateway_id: 'gw-1',
      time_ms: Date.now(),
      resources: { total: sum('total'), used: sum('used'), offered: sum('offered') },
      agents: { active, unreachable, total: agents.length },
      frameworks: { active: frameworks.filter((f) => f.active).length, total: frameworks.length },
      tasks: states,
    };
  }

  function update(key, state, extra) {
    const task = tasks.get(key);
    if (!task || task.exit_code === 0) return;
    const status = {
      state,
      timestamp_ms: Date.now(),
      reason: null,
      message: null,
      source: 'SOURCE_EXECUTOR',
      exit_code: null,
      ...extra,
    };
    tasks.set(key, {
      ...task,
      ...extra,
      state,
      message: status.message,
      updated_ms: status.timestamp_ms,
      statuses: [...task.statuses, status],
    });
    changed.add(key);
  }

  let launched = taskCount;
  function tick() {
    if (empty) return null;
    const keys = [...tasks.keys()];
    for (let i = 0; i < 3; i += 1) {
      const key = keys[2 + random(keys.length - 2)];
      const task = tasks.get(key);
      if (task?.state === 'TASK_STAGING' || task?.state === 'TASK_STARTING') update(key, 'TASK_RUNNING', {});
      else if (task?.state === 'TASK_FINISHED' && tasks.delete(key)) removed.push(key);
    }
    if (random(3) === 0) {
      const framework = frameworks[random(frameworks.length)];
      add(makeTask({ random, index: launched++, framework, agent: agents[random(10)], state: 'TASK_STAGING', age: 0 }));
    }
    recount();
    const delta = {
      cluster: facts(),
      agents,
      frameworks,
      tasks: [...changed].map((key) => tasks.get(key)).filter(Boolean),
      tasks_removed: removed,
    };
    changed = new Set();
    removed = [];
    return delta;
  }

  function log(key, name) {
    if (name === 'stderr') {
      const lines = key.includes('ui-probe') ? 'W1 slow answer from upstream: 812 ms\n' : '';
      return Buffer.from(lines);
    }
    const from = logs.get(key) ?? Date.now() - 30_000;
    logs.set(key, from);
    const count = Math.floor((Date.now() - from) / 300);
    let text = '';
    for (let i = 0; i < count; i += 1) {
      text += `${new Date(from + i * 300).toISOString()} INFO  request id=${1000 + i} path=/api/orders status=200 took=${(i * 37) % 90} ms grüße\n`;
    }
    return Buffer.from(text);
  }

  recount();
  return {
    agents,
    frameworks,
    tasks,
    facts,
    update,
    tick,
    log,
    snapshot: () => ({ cluster: facts(), agents, frameworks, tasks: [...tasks.values()] }),
  };
}

function makeAgent(index, term, now) {
  const gpu = index % 4 === 3;
  const state = index === 10 ? 'UNREACHABLE' : index === 11 ? 'DRAINING' : 'ACTIVE';
  return {
    id: `${term}-S${index}`,
    hostname: `node-${String(index + 1).padStart(2, '0')}.east`,
    port: 5051,
    state,
    registered_time_ms: now - 86_400_000 - index * 3_600_000,
    attributes: { rack: `r${(index % 3) + 1}`, zone: 'east-1a', ...(gpu ? { gpu: 'a100' } : {}) },
    total: { cpus: 128, mem: 262_144, disk: 2_097_152, gpus: gpu ? 8 : 0, ports: '[31000-32000]' },
    used: {},
    offered: {},
    tasks: 0,
    version: '0.1.0',
  };
}

function makeFramework(name, index, term, now) {
  return {
    id: `${term}-${String(index).padStart(4, '0')}`,
    name,
    user: 'root',
    roles: [['web', 'web/eu'], ['jobs'], ['*'], ['analytics'], ['jobs/batch']][index],
    principal: `${name}-principal`,
    active: index !== 4,
    connected: index !== 4,
    hostname: 'edge-1',
    webui_url: index < 2 ? `http://edge-1:${8080 + index}` : '',
    registered_time_ms: now - 7_200_000 * (index + 1),
    used: {},
    offered: { cpus: 4, mem: 8192, disk: 0, gpus: 0 },
    tasks: {},
    capabilities: ['MULTI_ROLE', 'GPU_RESOURCES'],
  };
}

const WHY = {
  TASK_FAILED: { reason: 'REASON_COMMAND_EXECUTOR_FAILED', message: 'Command exited with status 1', exit_code: 1 },
  TASK_LOST: { reason: 'REASON_AGENT_REMOVED', message: 'The agent was removed' },
  TASK_ERROR: { reason: 'REASON_TASK_INVALID', message: 'Task uses more resources than were offered' },
  TASK_KILLED: { message: 'Command terminated with signal Terminated' },
  TASK_FINISHED: { message: 'Command exited with status 0', exit_code: 0 },
};

function pickState(random) {
  const draw = random(100);
  if (draw < 62) return 'TASK_RUNNING';
  if (draw < 64) return 'TASK_STAGING';
  if (draw < 90) return 'TASK_FINISHED';
  if (draw < 94) return 'TASK_KILLED';
  if (draw < 98) return 'TASK_FAILED';
  return draw < 99 ? 'TASK_LOST' : 'TASK_ERROR';
}

function makeTask({ random, name, index, framework, agent, state, age }) {
  const created = Date.now() - age;
  const words = ['orders', 'search', 'billing', 'thumbnails', 'ingest', 'report', 'mailer', 'index'];
  const why = WHY[state] ?? {};
  const path =
    state === 'TASK_STAGING' ? [] : ['TASK_STARTING', 'TASK_RUNNING', ...(state === 'TASK_RUNNING' ? [] : [state])];
  const updated = state === 'TASK_STAGING' ? created : created + Math.min(age, 400 + random(90_000));
  const statuses = path.map((step, i) => ({
    state: step,
    timestamp_ms: i === path.length - 1 ? updated : created + 20 + i * 120,
    reason: null,
    message: null,
    source: 'SOURCE_EXECUTOR',
    exit_code: null,
    ...(step === state ? why : {}),
  }));
  const task = name ?? `${words[random(words.length)]}-${random(40)}`;
  return {
    id: `${task}.${(0x9e3779b9 ^ Math.imul(index + 1, 2654435761)) >>> 0}`,
    name: task,
    framework_id: framework.id,
    agent_id: agent.id,
    executor_id: '',
    state,
    reason: why.reason ?? null,
    message: why.message ?? null,
    source: 'SOURCE_EXECUTOR',
    healthy: state === 'TASK_RUNNING' && random(3) === 0 ? random(12) !== 0 : null,
    exit_code: why.exit_code ?? null,
    resources: {
      cpus: [0.1, 0.25, 0.5, 1][random(4)],
      mem: [128, 256, 512, 2048][random(4)],
      disk: random(5) === 0 ? 1024 : 0,
      gpus: agent.total.gpus && random(30) === 0 ? 1 : 0,
      ports: index % 3 === 0 ? `[${31000 + (index % 900)}-${31000 + (index % 900)}]` : '',
    },
    created_ms: created,
    updated_ms: updated,
    statuses,
    container: index % 4 === 0 ? { type: 'DOCKER', image: `registry.local/${task}:1.4` } : { type: 'MESOS', image: '' },
    labels:
      index % 2 === 0
        ? [
            { key: 'team', value: 'core' },
            { key: 'tier', value: 'backend' },
          ]
        : [],
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = (name, fallback) =>
    process.argv.includes(name) ? Number(process.argv[process.argv.indexOf(name) + 1]) : fallback;
  const mock = await startMock({
    port: option('--port', 5050),
    tasks: option('--tasks', 3000),
    empty: process.argv.includes('--empty'),
  });
  console.log(`a made-up cluster at ${mock.url}`);
}
