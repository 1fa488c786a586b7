import { createMemo, Show } from 'solid-js';
import type { Live } from '../live';
import { count, dominantShare, formatAge, formatPercent, formatResources } from '../model/format';
import { viewHash } from '../model/route';
import { isTerminal, type Tone } from '../model/states';
import type { Framework, Resources } from '../model/types';
import { Badge, Empty, Id, Section, Tags } from './bits';
import { DataTable, type Column } from './DataTable';

/** Who asks for resources, and how much of the cluster each has: its dominant share. */
export function Frameworks(props: { live: Live; fill: boolean }) {
  const frameworks = createMemo(() => [...props.live.state().frameworks.values()]);
  const total = () => props.live.state().cluster?.resources.total ?? {};
  const wide = props.fill;

  const columns: Column<Framework>[] = [
    {
      key: 'name',
      label: 'Name',
      width: 'minmax(92px, 1.4fr)',
      value: (framework) => framework.name,
      cell: (framework) => (
        <a href={viewHash('tasks', `framework:${framework.id}`)} tabindex="-1" title={framework.id}>
          {framework.name || framework.id}
        </a>
      ),
    },
    ...(wide
      ? [
          {
            key: 'id',
            label: 'Id',
            width: '170px',
            value: (f: Framework) => f.id,
            cell: (f: Framework) => <Id id={f.id} />,
          },
        ]
      : []),
    {
      key: 'state',
      label: 'State',
      width: '114px',
      value: (framework) => standing(framework).label,
      cell: (framework) => <Badge {...standing(framework)} />,
    },
    {
      key: 'roles',
      label: 'Roles',
      width: 'minmax(76px, 1fr)',
      value: (f) => f.roles?.join(),
      cell: (f) => <Tags items={f.roles ?? []} />,
    },
    ...(wide
      ? [
          {
            key: 'principal',
            label: 'Principal',
            width: 'minmax(110px, 1fr)',
            value: (f: Framework) => f.principal,
            cell: (f: Framework) => <span title={f.principal}>{f.principal || '–'}</span>,
          },
          {
            key: 'user',
            label: 'User',
            width: '80px',
            value: (f: Framework) => f.user,
            cell: (f: Framework) => f.user || '–',
          },
        ]
      : []),
    {
      key: 'tasks',
      label: 'Tasks',
      width: '46px',
      align: 'end',
      first: 'desc',
      value: living,
      cell: (framework) => <span title={taskCounts(framework)}>{living(framework).toLocaleString('en-US')}</span>,
    },
    {
      key: 'used',
      label: 'Uses',
      width: wide ? 'minmax(230px, 1.6fr)' : 'minmax(134px, 1.2fr)',
      first: 'desc',
      value: (framework) => framework.used.cpus,
      cell: (framework) => (
        <span title={`uses ${formatResources(framework.used)}\noffered ${formatResources(framework.offered)}`}>
          {formatResources(wide ? framework.used : main(framework.used))}
        </span>
      ),
    },
    {
      key: 'share',
      label: 'Share',
      width: '92px',
      first: 'desc',
      value: (framework) => dominantShare(framework.used, total()).share,
      cell: (framework) => <Share framework={framework} total={total()} />,
    },
    ...(wide
      ? [
          {
            key: 'registered',
            label: 'Up for',
            width: '80px',
            align: 'end' as const,
            value: (f: Framework) => -(f.registered_time_ms ?? 0),
            cell: (f: Framework) => formatAge(f.registered_time_ms, props.live.now()),
          },
          {
            key: 'webui',
            label: '',
            width: '64px',
            cell: (f: Framework) => (
              <Show when={safeUrl(f.webui_url)}>
                <a href={safeUrl(f.webui_url)} target="_blank" rel="noreferrer" tabindex="-1">
                  Open ↗
                </a>
              </Show>
            ),
          },
        ]
      : []),
  ];

  return (
    <Section id="frameworks" title="Frameworks" aside={count(frameworks().length, 'framework')} fill={props.fill}>
      <DataTable
        label="Frameworks"
        rows={frameworks()}
        rowKey={(framework) => framework.id}
        columns={columns}
        initialSort={{ column: 'share', direction: 'desc' }}
        maxRows={wide ? undefined : 7}
        onOpen={(framework) => (location.hash = viewHash('tasks', `framework:${framework.id}`))}
        empty={
          <Empty title="No frameworks yet.">
            The built-in one comes with the first task: <code>mesos launch --command "echo hello"</code>
          </Empty>
        }
      />
    </Section>
  );
}

function Share(props: { framework: Framework; total: Framework['used'] }) {
  const dominant = () => dominantShare(props.framework.used, props.total);
  return (
    <span class="share" title={dominant().resource ? `dominant resource: ${dominant().resource}` : 'uses nothing'}>
      <span class="meter" aria-hidden="true">
        <span class="meter-used" style={{ width: `${dominant().share * 100}%` }} />
      </span>
      <span class="share-text">{formatPercent(dominant().share)}</span>
    </span>
  );
}

function standing(framework: Framework): { tone: Tone; label: string } {
  if (!framework.connected) return { tone: 'warn', label: 'Disconnected' };
  return framework.active ? { tone: 'good', label: 'Active' } : { tone: 'idle', label: 'Inactive' };
}

function living(framework: Framework): number {
  return Object.entries(framework.tasks ?? {}).reduce(
    (sum, [state, amount]) => (isTerminal(state) ? sum : sum + amount),
    0,
  );
}

// What fits a narrow column; the tooltip has the rest.
function main({ cpus, mem }: Resources): Resources {
  return { cpus, mem };
}

function taskCounts(framework: Framework): string {
  return Object.entries(framework.tasks ?? {})
    .map(([state, amount]) => `${state}: ${amount}`)
    .join('\n');
}

// A framework names its own page; only web addresses become links.
function safeUrl(url: string | undefined): string | undefined {
  return url && /^https?:\/\//i.test(url) ? url : undefined;
}
