import { createMemo, Show } from 'solid-js';
import type { Live } from '../live';
import { count, formatAge, fraction } from '../model/format';
import { viewHash } from '../model/route';
import { SCALARS, type Agent, type Scalar } from '../model/types';
import { Empty, Id, Section, StateBadge, Tags, UsageCell } from './bits';
import { DataTable, type Column } from './DataTable';

const LABELS: Record<Scalar, string> = { cpus: 'CPUs', mem: 'Memory', disk: 'Disk', gpus: 'GPUs' };

/** The machines of the cluster. A row leads to the tasks on it. */
export function Agents(props: { live: Live; fill: boolean }) {
  const agents = createMemo(() => [...props.live.state().agents.values()]);

  const usage = (kind: Scalar): Column<Agent> => ({
    key: kind,
    label: LABELS[kind],
    width: 'minmax(98px, 1fr)',
    first: 'desc',
    value: (agent) => fraction(agent.used[kind], agent.total[kind]),
    cell: (agent) => <UsageCell kind={kind} used={agent.used} offered={agent.offered} total={agent.total} />,
  });
  // Beside the frameworks there is room for the four columns that matter; the view of its own shows all.
  const columns: Column<Agent>[] = [
    {
      key: 'hostname',
      label: 'Host',
      width: 'minmax(104px, 1.6fr)',
      value: (agent) => agent.hostname,
      cell: (agent) => (
        <a
          href={viewHash('tasks', `agent:${agent.id}`)}
          tabindex="-1"
          title={`${agent.hostname}:${agent.port ?? ''}\n${agent.id}`}
        >
          {agent.hostname}
          <Show when={props.fill && agent.port}>
            <span class="faint">:{agent.port}</span>
          </Show>
        </a>
      ),
    },
    ...(props.fill
      ? [
          {
            key: 'id',
            label: 'Id',
            width: '160px',
            value: (agent: Agent) => agent.id,
            cell: (agent: Agent) => <Id id={agent.id} />,
          },
        ]
      : []),
    {
      key: 'state',
      label: 'State',
      width: '104px',
      value: (agent) => agent.state,
      cell: (agent) => <StateBadge kind="agent" state={agent.state} />,
    },
    ...(props.fill ? SCALARS : (['cpus', 'mem'] as const)).map(usage),
    {
      key: 'tasks',
      label: 'Tasks',
      width: '46px',
      align: 'end',
      first: 'desc',
      value: (agent) => agent.tasks,
      cell: (agent) => agent.tasks.toLocaleString('en-US'),
    },
    {
      key: 'attributes',
      label: 'Attributes',
      width: 'minmax(104px, 1.8fr)',
      cell: (agent) => (
        <Tags items={Object.entries(agent.attributes ?? {}).map(([name, value]) => `${name}:${value}`)} />
      ),
    },
    ...(props.fill
      ? [
          {
            key: 'version',
            label: 'Version',
            width: '80px',
            value: (agent: Agent) => agent.version,
            cell: (agent: Agent) => agent.version ?? '–',
          },
          {
            key: 'registered',
            label: 'Up for',
            width: '80px',
            align: 'end' as const,
            value: (agent: Agent) => -(agent.registered_time_ms ?? 0),
            cell: (agent: Agent) => formatAge(agent.registered_time_ms, props.live.now()),
          },
        ]
      : []),
  ];

  return (
    <Section id="agents" title="Agents" aside={count(agents().length, 'agent')} fill={props.fill}>
      <DataTable
        label="Agents"
        rows={agents()}
        rowKey={(agent) => agent.id}
        columns={columns}
        initialSort={{ column: 'hostname', direction: 'asc' }}
        maxRows={props.fill ? undefined : 7}
        onOpen={(agent) => (location.hash = viewHash('tasks', `agent:${agent.id}`))}
        empty={
          <Empty title="No agents yet.">
            Start one: <code>mesos slave --master={location.host} --work-dir=/tmp/mesos-agent</code>
          </Empty>
        }
      />
    </Section>
  );
}
