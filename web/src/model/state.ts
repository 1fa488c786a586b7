// The page's copy of the cluster: a snapshot, then deltas. Pure, so that every rule of the stream is tested without a browser.

import type { Agent, Cluster, Delta, Framework, Resources, Snapshot, Task } from './types';
import { taskKey } from './types';

/** Maps are replaced when something in them changes and kept when nothing does, so identity says "changed". */
export interface ClusterState {
  cluster: Cluster | null;
  agents: ReadonlyMap<string, Agent>;
  frameworks: ReadonlyMap<string, Framework>;
  tasks: ReadonlyMap<string, Task>;
}

export const EMPTY: ClusterState = { cluster: null, agents: new Map(), frameworks: new Map(), tasks: new Map() };

export function fromSnapshot(snapshot: Snapshot): ClusterState {
  return {
    cluster: completeCluster(snapshot.cluster),
    agents: patch(EMPTY.agents, snapshot.agents?.map(completeOwner), undefined, (agent) => agent.id),
    frameworks: patch(
      EMPTY.frameworks,
      snapshot.frameworks?.map(completeOwner),
      undefined,
      (framework) => framework.id,
    ),
    tasks: patch(EMPTY.tasks, snapshot.tasks, undefined, taskKey),
  };
}

/** A delta before any snapshot is applied to nothing: its rows show, the totals wait for the snapshot. */
export function applyDelta(state: ClusterState, delta: Delta): ClusterState {
  return {
    cluster: state.cluster && delta.cluster ? completeCluster({ ...state.cluster, ...delta.cluster }) : state.cluster,
    agents: patch(state.agents, delta.agents?.map(completeOwner), delta.agents_removed, (agent) => agent.id),
    frameworks: patch(
      state.frameworks,
      delta.frameworks?.map(completeOwner),
      delta.frameworks_removed,
      (framework) => framework.id,
    ),
    tasks: patch(state.tasks, delta.tasks, delta.tasks_removed, taskKey),
  };
}

// What a gateway leaves out because there is none of it reads as nothing, so that no view has to ask.
function completeCluster(cluster: Cluster): Cluster {
  const { total = {}, used = {}, offered = {} } = cluster.resources ?? {};
  return {
    ...cluster,
    resources: { total, used, offered },
    agents: { ...{ active: 0, unreachable: 0, total: 0 }, ...cluster.agents },
    frameworks: { ...{ active: 0, total: 0 }, ...cluster.frameworks },
    tasks: cluster.tasks ?? {},
  };
}

function completeOwner<T extends { used: Resources; offered: Resources }>(owner: T): T {
  const parts = owner as Partial<Agent>;
  return { ...owner, total: parts.total ?? {}, used: parts.used ?? {}, offered: parts.offered ?? {} };
}

// Removals go first: a row that is in both lists was removed and came back within one batch.
function patch<T>(
  rows: ReadonlyMap<string, T>,
  changed: T[] | undefined,
  removed: string[] | undefined,
  key: (row: T) => string,
): ReadonlyMap<string, T> {
  const gone = removed?.some((id) => rows.has(id)) ?? false;
  if (!gone && !changed?.length) return rows;
  const next = new Map(rows);
  for (const id of removed ?? []) next.delete(id);
  for (const row of changed ?? []) next.set(key(row), row);
  return next;
}
