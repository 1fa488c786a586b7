import { createMemo, createSignal, For, Show } from 'solid-js';
import type { Live } from '../live';
import { formatAge, formatDateTime, formatReason, formatResources } from '../model/format';
import { stateCounts, taskFilter } from '../model/rows';
import { taskHash } from '../model/route';
import { stateLabel, stateRank, taskTone } from '../model/states';
import { taskKey, type Task } from '../model/types';
import { Empty, Id, Section, StateBadge } from './bits';
import { DataTable, type Column } from './DataTable';

interface Props {
  live: Live;
  fill: boolean;
  query: string;
  onQuery: (query: string) => void;
  selected: { frameworkId: string; taskId: string } | null;
}

/** Every task that the cluster remembers, filtered by words and by states. A row opens the task's drawer. */
export function Tasks(props: Props) {
  const [states, setStates] = createSignal<ReadonlySet<string>>(new Set());
  const state = () => props.live.state();
  const worded = createMemo(() => {
    const { tasks, agents, frameworks } = state();
    const all = [...tasks.values()];
    return props.query.trim() === '' ? all : all.filter(taskFilter(props.query, { agents, frameworks }));
  });
  const counts = createMemo(() => stateCounts(worded()));
  const rows = createMemo(() => (states().size === 0 ? worded() : worded().filter((task) => states().has(task.state))));
  const selected = () =>
    props.selected && taskKey({ framework_id: props.selected.frameworkId, id: props.selected.taskId });

  function toggle(name: string) {
    const next = new Set(states());
    if (!next.delete(name)) next.add(name);
    setStates(next);
  }

  function clear() {
    setStates(new Set<string>());
    props.onQuery('');
  }

  // A chip that was pressed stays while no task is in its state, or it could not be let go of.
  const chips = createMemo(() => {
    const found = new Map(counts());
    for (const name of states()) if (!found.has(name)) found.set(name, 0);
    return [...found].sort(([a], [b]) => stateRank(a) - stateRank(b));
  });
  const chipNames = createMemo(() => chips().map(([name]) => name), undefined, {
    equals: (a, b) => a?.join() === b?.join(),
  });
  const chipCount = (name: string) => chips().find(([other]) => other === name)?.[1] ?? 0;

  const columns = taskColumns(props);
  return (
    <Section
      id="tasks"
      title="Tasks"
      fill={props.fill}
      aside={
        <span data-test="task-count">
          {rows().length === state().tasks.size
            ? rows().length.toLocaleString('en-US')
            : `${rows().length.toLocaleString('en-US')} of ${state().tasks.size.toLocaleString('en-US')}`}
        </span>
      }
    >
      <div class="toolbar">
        <label class="search">
          <svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
            <circle cx="7" cy="7" r="4.5" />
            <path d="m10.5 10.5 3.5 3.5" />
          </svg>
          <input
            id="task-filter"
            type="search"
            aria-label="Filter tasks"
            placeholder="Filter by name, id, message, or agent: framework: state:"
            autocomplete="off"
            spellcheck={false}
            value={props.query}
            onInput={(event) => props.onQuery(event.currentTarget.value)}
            onKeyDown={(event) => event.key === 'Escape' && (event.currentTarget.blur(), event.stopPropagation())}
          />
          <kbd aria-hidden="true">/</kbd>
        </label>
        <div class="chips" role="group" aria-label="States">
          <button
            type="button"
            class="chip"
            aria-pressed={states().size === 0}
            onClick={() => setStates(new Set<string>())}
          >
            All <b>{worded().length.toLocaleString('en-US')}</b>
          </button>
          <For each={chipNames()}>
            {(name) => (
              <button
                type="button"
                class={`chip tone-${taskTone(name)}`}
                aria-pressed={states().has(name)}
                data-state={name}
                onClick={() => toggle(name)}
              >
                <i class="mark" aria-hidden="true" />
                {stateLabel(name)} <b>{chipCount(name).toLocaleString('en-US')}</b>
              </button>
            )}
          </For>
        </div>
      </div>
      <DataTable
        label="Tasks"
        rows={rows()}
        rowKey={taskKey}
        columns={columns}
        initialSort={{ column: 'age', direction: 'asc' }}
        maxRows={props.fill ? undefined : 14}
        selected={selected() ?? undefined}
        onOpen={(task) => (location.hash = taskHash(task.framework_id, task.id))}
        empty={
          <Show
            when={state().tasks.size > 0}
            fallback={
              <Empty title={state().cluster ? 'No tasks yet.' : 'Waiting for the cluster…'}>
                <Show when={state().cluster}>
                  Launch one: <code>mesos launch --command "echo hello"</code>
                </Show>
              </Empty>
            }
          >
            <Empty title="No task matches.">
              <button type="button" class="button" onClick={clear}>
                Clear the filter
              </button>
            </Empty>
          </Show>
        }
      />
    </Section>
  );
}

function taskColumns(props: Props): Column<Task>[] {
  const state = () => props.live.state();
  const frameworkName = (task: Task) => state().frameworks.get(task.framework_id)?.name || task.framework_id;
  const hostname = (task: Task) => state().agents.get(task.agent_id ?? '')?.hostname ?? task.agent_id;
  return [
    {
      key: 'name',
      label: 'Name',
      width: 'minmax(130px, 1.3fr)',
      value: (task) => task.name,
      cell: (task) => (
        <a href={taskHash(task.framework_id, task.id)} tabindex="-1" title={task.name}>
          {task.name || task.id}
        </a>
      ),
    },
    {
      key: 'id',
      label: 'Id',
      width: 'minmax(146px, 1fr)',
      value: (task) => task.id,
      cell: (task) => <Id id={task.id} keep={20} />,
    },
    {
      key: 'state',
      label: 'State',
      width: '118px',
      value: (task) => stateRank(task.state),
      cell: (task) => (
        <>
          <StateBadge state={task.state} />
          <Show when={task.healthy === false}>
            <span class="unhealthy" title="The health check fails.">
              unhealthy
            </span>
          </Show>
        </>
      ),
    },
    {
      key: 'reason',
      label: 'Why',
      width: 'minmax(128px, 2fr)',
      value: (task) => task.message || task.reason,
      cell: (task) => (
        <span class="why" title={[task.reason, task.message].filter(Boolean).join('\n')}>
          {task.message || formatReason(task.reason)}
        </span>
      ),
    },
    {
      key: 'framework',
      label: 'Framework',
      width: 'minmax(96px, 0.9fr)',
      value: frameworkName,
      cell: (task) => <span title={task.framework_id}>{frameworkName(task)}</span>,
    },
    {
      key: 'agent',
      label: 'Agent',
      width: 'minmax(96px, 0.9fr)',
      value: hostname,
      cell: (task) => <span title={task.agent_id}>{hostname(task) ?? '–'}</span>,
    },
    {
      key: 'resources',
      label: 'Resources',
      width: '182px',
      first: 'desc',
      value: (task) => task.resources?.cpus,
      cell: (task) => <span title={formatResources(task.resources)}>{formatResources(task.resources)}</span>,
    },
    {
      key: 'exit',
      label: 'Exit',
      width: '40px',
      align: 'end',
      first: 'desc',
      value: (task) => task.exit_code,
      cell: (task) => <span classList={{ mono: true, bad: !!task.exit_code }}>{task.exit_code ?? ''}</span>,
    },
    {
      key: 'since',
      label: 'Since',
      width: '72px',
      align: 'end',
      value: (task) => -(task.updated_ms ?? 0),
      cell: (task) => (
        <span title={`in this state since ${formatDateTime(task.updated_ms)}`}>
          {formatAge(task.updated_ms, props.live.now())}
        </span>
      ),
    },
    {
      key: 'age',
      label: 'Age',
      width: '72px',
      align: 'end',
      value: (task) => -(task.created_ms ?? 0),
      cell: (task) => (
        <span title={`created ${formatDateTime(task.created_ms)}`}>{formatAge(task.created_ms, props.live.now())}</span>
      ),
    },
  ];
}
