// Rows for the unit tests, whole but for what a test is about.

import type { Agent, Cluster, Framework, Task } from './types';

export function task(over: Partial<Task> = {}): Task {
  return {
    id: 't1',
    name: 'web',
    framework_id: 'f1',
    agent_id: 'a1',
    state: 'TASK_RUNNING',
    resources: { cpus: 0.5, mem: 128 },
    created_ms: 1000,
    updated_ms: 2000,
    ...over,
  };
}

export function agent(over: Partial<Agent> = {}): Agent {
  return {
    id: 'a1',
    hostname: 'node-1',
    state: 'ACTIVE',
    total: { cpus: 4 },
    used: {},
    offered: {},
    tasks: 0,
    ...over,
  };
}

export function framework(over: Partial<Framework> = {}): Framework {
  return { id: 'f1', name: 'marathon', active: true, connected: true, used: {}, offered: {}, tasks: {}, ...over };
}

export function cluster(over: Partial<Cluster> = {}): Cluster {
  return {
    cluster: 'main',
    version: '0.1.0',
    time_ms: 5000,
    resources: { total: { cpus: 4 }, used: { cpus: 1 }, offered: {} },
    agents: { active: 1, unreachable: 0, total: 1 },
    frameworks: { active: 1, total: 1 },
    tasks: { TASK_RUNNING: 1 },
    ...over,
  };
}
