import { For, Show } from 'solid-js';
import type { Live } from '../live';
import { formatClock, shortId } from '../model/format';
import { viewHash, type View } from '../model/route';

const LINKS: readonly [View, string][] = [
  ['overview', 'Overview'],
  ['agents', 'Agents'],
  ['frameworks', 'Frameworks'],
  ['roles', 'Roles'],
  ['tasks', 'Tasks'],
];

const CONNECTION = { connecting: 'Connecting', live: 'Live', reconnecting: 'Reconnecting' } as const;

/** Who this cluster is, whether what one sees is live, and how much of everything there is. */
export function Header(props: { live: Live; view: View }) {
  const cluster = () => props.live.state().cluster;
  return (
    <header class="top">
      <a class="brand" href={viewHash('overview')} aria-label="Overview">
        <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
          <path class="brand-outer" d="M16 2 28.1 9v14L16 30 3.9 23V9z" />
          <path class="brand-inner" d="M16 9.5 21.6 12.8v6.4L16 22.5l-5.6-3.3v-6.400z" />
        </svg>
        <span class="brand-name" data-test="cluster-name">
          {cluster()?.cluster || 'Mesos'}
        </span>
      </a>
      <nav aria-label="Views">
        <For each={LINKS}>
          {([view, label]) => (
            <a href={viewHash(view)} aria-current={props.view === view ? 'page' : undefined}>
              {label}
            </a>
          )}
        </For>
      </nav>
      <div class="top-facts">
        <Show when={cluster()} keyed={false}>
          {(facts) => (
            <>
              <Fact label="Version" value={facts().version} />
              <Show when={facts().leader?.allocator}>
                <Fact
                  label="Allocator"
                  value={shortId(facts().leader?.allocator, 13)}
                  title={facts().leader?.allocator}
                  mono
                />
              </Show>
              <Show when={facts().leader?.registry}>
                <Fact
                  label="Registry"
                  value={shortId(facts().leader?.registry, 13)}
                  title={facts().leader?.registry}
                  mono
                />
              </Show>
            </>
          )}
        </Show>
        <span
          class={`connection is-${props.live.connection()}`}
          role="status"
          data-test="connection"
          title={`Event stream: ${CONNECTION[props.live.connection()].toLowerCase()}`}
        >
          <i class="pulse" aria-hidden="true" />
          {CONNECTION[props.live.connection()]}
          <time class="clock">{formatClock(props.live.now())}</time>
        </span>
      </div>
    </header>
  );
}

function Fact(props: { label: string; value: string; title?: string; mono?: boolean }) {
  return (
    <span class="fact" title={props.title ?? props.value}>
      <span class="fact-label">{props.label}</span>
      <span classList={{ mono: props.mono }}>{props.value}</span>
    </span>
  );
}
