// What the cluster has, what of it is used and offered, right now and over the last minutes.

import { createSignal, For, Show } from 'solid-js';
import type { Live } from '../live';
import { formatPercent, formatScalar, fraction } from '../model/format';
import { viewHash } from '../model/route';
import { FAILURES } from '../model/states';
import { SCALARS, type Cluster, type Scalar } from '../model/types';
import { Meter } from './bits';
import { Chart } from './Chart';

const LABELS: Record<Scalar, string> = { cpus: 'CPUs', mem: 'Memory', disk: 'Disk', gpus: 'GPUs' };

export function ResourcesPanel(props: { live: Live }) {
  const [kind, setKind] = createSignal<Scalar>('cpus');
  const cluster = () => props.live.state().cluster;
  return (
    <section class="overview" aria-label="Resources" id="resources">
      <Totals cluster={cluster()} />
      <div class="panel resources">
        <div class="tiles" role="radiogroup" aria-label="Resource in the chart">
          <For each={SCALARS}>
            {(each) => <Tile kind={each} cluster={cluster()} chosen={kind() === each} onChoose={() => setKind(each)} />}
          </For>
        </div>
        <Chart kind={kind()} label={LABELS[kind()]} history={props.live.history()} now={props.live.now()} />
      </div>
    </section>
  );
}

function Tile(props: { kind: Scalar; cluster: Cluster | null; chosen: boolean; onChoose: () => void }) {
  const amount = (part: 'total' | 'used' | 'offered') => props.cluster?.resources[part]?.[props.kind] ?? 0;
  const text = (part: 'total' | 'used' | 'offered') => (props.cluster ? formatScalar(props.kind, amount(part)) : '–');
  return (
    <button
      type="button"
      class="tile"
      role="radio"
      aria-checked={props.chosen}
      data-resource={props.kind}
      onClick={props.onChoose}
    >
      <span class="tile-head">
        <span>{LABELS[props.kind]}</span>
        <span class="tile-share">
          <Show when={amount('total') > 0} fallback="none">
            {formatPercent(fraction(amount('used'), amount('total')))}
          </Show>
        </span>
      </span>
      <Meter
        kind={props.kind}
        used={props.cluster?.resources.used ?? {}}
        offered={props.cluster?.resources.offered ?? {}}
        total={props.cluster?.resources.total ?? {}}
        label={`${LABELS[props.kind]} used`}
      />
      <span class="tile-numbers">
        <span>
          <i class="key key-used" />
          {text('used')}
          <small> used</small>
        </span>
        <span>
          <i class="key key-offered" />
          {text('offered')}
          <small> offered</small>
        </span>
        <span>
          {text('total')}
          <small> total</small>
        </span>
      </span>
    </button>
  );
}

// A filter that finds just what a total counts.
function tasksIn(...states: string[]): string {
  return viewHash('tasks', `state:${states.map((state) => state.replace('TASK_', '').toLowerCase()).join()}`);
}

function Totals(props: { cluster: Cluster | null }) {
  const running = () => props.cluster?.tasks['TASK_RUNNING'] ?? 0;
  const waiting = () => (props.cluster?.tasks['TASK_STAGING'] ?? 0) + (props.cluster?.tasks['TASK_STARTING'] ?? 0);
  const failed = () => FAILURES.reduce((sum, state) => sum + (props.cluster?.tasks[state] ?? 0), 0);
  return (
    <dl class="totals" data-test="totals">
      <Total
        label="Agents"
        value={props.cluster?.agents.active}
        note={`of ${props.cluster?.agents.total ?? 0} active`}
        href="#/agents"
      />
      <Total
        label="Unreachable"
        value={props.cluster?.agents.unreachable}
        tone={props.cluster?.agents.unreachable ? 'bad' : undefined}
        href="#/agents"
      />
      <Total
        label="Frameworks"
        value={props.cluster?.frameworks.active}
        note={`of ${props.cluster?.frameworks.total ?? 0} active`}
        href="#/frameworks"
      />
      <Total label="Running" value={props.cluster && running()} href={tasksIn('TASK_RUNNING')} />
      <Total label="Starting" value={props.cluster && waiting()} href={tasksIn('TASK_STAGING', 'TASK_STARTING')} />
      <Total
        label="Failed"
        value={props.cluster && failed()}
        tone={failed() > 0 ? 'bad' : undefined}
        href={tasksIn(...FAILURES)}
      />
      <Total
        label="Finished"
        value={props.cluster && (props.cluster.tasks['TASK_FINISHED'] ?? 0)}
        href={tasksIn('TASK_FINISHED')}
      />
    </dl>
  );
}

function Total(props: { label: string; value: number | null | undefined; note?: string; tone?: 'bad'; href: string }) {
  return (
    <a class="total" href={props.href} classList={{ 'total-bad': props.tone === 'bad' }}>
      <dt>{props.label}</dt>
      <dd>
        {props.value?.toLocaleString('en-US') ?? '–'}
        <Show when={props.note && props.value !== null && props.value !== undefined}>
          <small> {props.note}</small>
        </Show>
      </dd>
    </a>
  );
}
