// The small pieces that every section uses.

import { For, Show, type JSX } from 'solid-js';
import { formatPercent, formatScalar, fraction, shortId } from '../model/format';
import { agentTone, stateLabel, taskTone, type Tone } from '../model/states';
import type { Resources, Scalar } from '../model/types';

/** A state as words with a mark; the mark differs in shape as well as colour, for those who see no red or green. */
export function StateBadge(props: { state: string; kind?: 'task' | 'agent' }) {
  const tone = () => (props.kind === 'agent' ? agentTone(props.state) : taskTone(props.state));
  return <Badge tone={tone()} label={stateLabel(props.state)} title={props.state} />;
}

export function Badge(props: { tone: Tone; label: string; title?: string }) {
  return (
    <span class={`badge tone-${props.tone}`} title={props.title}>
      <i class="mark" aria-hidden="true" />
      {props.label}
    </span>
  );
}

/** A bar of used and offered within total. Widths are set through the DOM, so a strict content policy allows them. */
export function Meter(props: { kind: Scalar; used: Resources; offered?: Resources; total: Resources; label: string }) {
  const used = () => fraction(props.used[props.kind], props.total[props.kind]);
  const offered = () => Math.min(1 - used(), fraction(props.offered?.[props.kind], props.total[props.kind]));
  return (
    <span
      class="meter"
      role="meter"
      aria-label={props.label}
      aria-valuemin="0"
      aria-valuemax="100"
      aria-valuenow={Math.round(used() * 100)}
      aria-valuetext={`${formatPercent(used())} used, ${formatPercent(offered())} offered`}
    >
      <span class="meter-used" style={{ width: `${used() * 100}%` }} />
      <span class="meter-offered" style={{ width: `${offered() * 100}%` }} />
    </span>
  );
}

/** A table cell: bar above, `used / total` beside it. */
export function UsageCell(props: { kind: Scalar; used: Resources; offered?: Resources; total: Resources }) {
  const total = () => props.total[props.kind] ?? 0;
  const text = () => `${formatScalar(props.kind, props.used[props.kind] ?? 0)} / ${formatScalar(props.kind, total())}`;
  return (
    <Show when={total() > 0} fallback={<span class="faint">–</span>}>
      <span
        class="usage"
        title={`${text()} used, ${formatScalar(props.kind, props.offered?.[props.kind] ?? 0)} offered`}
      >
        <span class="usage-text">{text()}</span>
        <Meter
          kind={props.kind}
          used={props.used}
          offered={props.offered}
          total={props.total}
          label={`${props.kind} used`}
        />
      </span>
    </Show>
  );
}

export function Id(props: { id: string | undefined; keep?: number }) {
  return (
    <span class="mono id" title={props.id}>
      {shortId(props.id, props.keep)}
    </span>
  );
}

export function Tags(props: { items: string[]; empty?: string }) {
  return (
    <Show when={props.items.length > 0} fallback={<span class="faint">{props.empty ?? '–'}</span>}>
      <span class="tags" title={props.items.join('\n')}>
        <For each={props.items}>{(item) => <span class="tag">{item}</span>}</For>
      </span>
    </Show>
  );
}

/** What stands where rows would be: what is so, and what to do next. */
export function Empty(props: { title: string; children?: JSX.Element }) {
  return (
    <div class="empty">
      <p class="empty-title">{props.title}</p>
      <Show when={props.children}>
        <div class="empty-next">{props.children}</div>
      </Show>
    </div>
  );
}

export function Section(props: {
  id: string;
  title: string;
  aside?: JSX.Element;
  fill?: boolean;
  children: JSX.Element;
}) {
  return (
    <section class="panel" classList={{ fill: props.fill }} id={props.id} aria-labelledby={`${props.id}-title`}>
      <header class="panel-head">
        <h2 id={`${props.id}-title`}>{props.title}</h2>
        <div class="panel-aside">{props.aside}</div>
      </header>
      {props.children}
    </section>
  );
}
