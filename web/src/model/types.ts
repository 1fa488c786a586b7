// What the gateway's REST API and its event stream carry. Fields that an older gateway may leave out are optional.

/** Amounts of one bundle of resources; `mem` and `disk` are megabytes, as everywhere in Mesos. */
export interface Resources {
  cpus?: number;
  mem?: number;
  disk?: number;
  gpus?: number;
  ports?: string;
}

export type Scalar = 'cpus' | 'mem' | 'disk' | 'gpus';
export const SCALARS: readonly Scalar[] = ['cpus', 'mem', 'disk', 'gpus'];

export interface Cluster {
  cluster: string;
  version: string;
  leader?: { allocator?: string; registry?: string };
  gateway_id?: string;
  time_ms: number;
  resources: { total: Resources; used: Resources; offered: Resources };
  agents: { active: number; unreachable: number; total: number };
  frameworks: { active: number; total: number };
  tasks: Record<string, number>;
}

export interface Agent {
  id: string;
  hostname: string;
  port?: number;
  state: string;
  registered_time_ms?: number;
  attributes?: Record<string, string>;
  total: Resources;
  used: Resources;
  offered: Resources;
  tasks: number;
  version?: string;
}

export interface Framework {
  id: string;
  name: string;
  user?: string;
  roles?: string[];
  principal?: string;
  active: boolean;
  connected: boolean;
  hostname?: string;
  webui_url?: string;
  registered_time_ms?: number;
  used: Resources;
  offered: Resources;
  tasks: Record<string, number>;
  capabilities?: string[];
}

export interface TaskStatus {
  state: string;
  timestamp_ms: number;
  reason?: string | null;
  message?: string | null;
  source?: string | null;
  exit_code?: number | null;
}

export interface Task {
  id: string;
  name: string;
  framework_id: string;
  agent_id?: string;
  executor_id?: string;
  state: string;
  reason?: string | null;
  message?: string | null;
  source?: string | null;
  healthy?: boolean | null;
  exit_code?: number | null;
  resources: Resources;
  created_ms?: number;
  updated_ms?: number;
  statuses?: TaskStatus[];
  container?: { type?: string; image?: string } | null;
  labels?: { key: string; value?: string }[];
}

/** The first event of a stream: everything there is. */
export interface Snapshot {
  cluster: Cluster;
  agents: Agent[];
  frameworks: Framework[];
  tasks: Task[];
}

/** What changed since the event before. Tasks are removed by `framework id/task id`. */
export interface Delta {
  cluster?: Partial<Cluster> | null;
  agents?: Agent[];
  agents_removed?: string[];
  frameworks?: Framework[];
  frameworks_removed?: string[];
  tasks?: Task[];
  tasks_removed?: string[];
}

/** A piece of a sandbox file: `offset` and `size` count bytes, `data` is text in which bad bytes became U+FFFD. */
export interface FileChunk {
  offset: number;
  data: string;
  size: number;
}

/** The key of a task in every map and in `tasks_removed`; a task id alone is unique only within its framework. */
export function taskKey(task: { framework_id: string; id: string }): string {
  return `${task.framework_id}/${task.id}`;
}

/** Amounts by name; `mem` and `disk` are megabytes. */
export type Amounts = Record<string, number>;

/** A role. Fields that are 0 or empty are absent. */
export interface Role {
  role: string;
  weight?: number;
  guarantee?: Amounts;
  limit?: Amounts;
  consumed?: Amounts;
  reserved?: Amounts;
  allocated?: Amounts;
  offered?: Amounts;
  /** Dominant share of the cluster, from 0 to 1. */
  share?: number;
  placement?: string;
  framework_ids?: { value: string }[];
}

/** Why something waits. */
export interface Explanation {
  role: string;
  summary?: string;
  blockers?: { why: string; detail?: string; agents?: number }[];
  turns?: { framework_id?: { value: string }; role: string; share?: number; weight?: number; priority?: number }[];
  remedies?: { text?: string }[];
}
