// One task, beside the list it was opened from: what it is, what happened to it, what it writes, and how to stop it.

import { createMemo, createResource, createSignal, For, onCleanup, onMount, Show, type JSX } from 'solid-js';
import { ApiError, fetchTask, killTask } from '../api';
import type { Live } from '../live';
import { formatDateTime, formatDuration, formatReason, formatResources } from '../model/format';
import { viewHash } from '../model/route';
import { isTerminal, stateLabel, taskTone } from '../model/states';
import { taskKey, type Task, type TaskStatus } from '../model/types';
import { Empty, StateBadge, Tags } from './bits';
import { LogViewer } from './LogViewer';
import type { ToastTone } from './Toasts';

interface Props {
  live: Live;
  frameworkId: string;
  taskId: string;
  toast: (tone: ToastTone, text: string) => void;
  onClose: () => void;
}

export function TaskDrawer(props: Props) {
  let drawer!: HTMLElement;
  const opener = document.activeElement as HTMLElement | null;
  const key = taskKey({ framework_id: props.frameworkId, id: props.taskId });
  const streamed = createMemo(() => props.live.state().tasks.get(key));
  // The stream holds what the gateway remembers; an older task, reached by a link, is asked for once.
  const [fetched] = createResource(
    () => props.live.state().cluster !== null && !streamed(),
    () => fetchTask(props.frameworkId, props.taskId),
  );
  // A task that leaves the stream while its drawer is open stays as it was last seen.
  const task = createMemo<Task | undefined>(
    (last) => streamed() ?? (fetched.state === 'ready' ? fetched() : undefined) ?? last,
  );

  onMount(() => drawer.focus({ preventScroll: true }));
  onCleanup(() => opener?.isConnected && opener.focus({ preventScroll: true }));

  return (
    <aside ref={drawer} class="drawer" role="dialog" aria-labelledby="drawer-title" tabindex="-1" data-test="drawer">
      <header class="drawer-head">
        <div class="drawer-title">
          <h2 id="drawer-title" title={task()?.name}>
            {task()?.name || props.taskId}
          </h2>
          <span class="mono faint drawer-id" title={props.taskId}>
            {props.taskId}
          </span>
        </div>
        <Show when={task()}>{(found) => <StateBadge state={found().state} />}</Show>
        <Show when={task()}>{(found) => <KillButton task={found()} toast={props.toast} />}</Show>
        <button type="button" class="icon-button" aria-label="Close" title="Close (Esc)" onClick={props.onClose}>
          ×
        </button>
      </header>
      <Show
        when={task()}
        fallback={
          <Show when={fetched.error} fallback={<Empty title="Looking for the task…" />}>
            {(error) => <Missing error={error()} />}
          </Show>
        }
      >
        {(found) => (
          <div class="drawer-body">
            <Facts task={found()} live={props.live} />
            <History task={found()} now={props.live.now()} />
            <LogViewer
              frameworkId={props.frameworkId}
              taskId={props.taskId}
              ended={isTerminal(found().state)}
              toast={props.toast}
            />
          </div>
        )}
      </Show>
    </aside>
  );
}

function Missing(props: { error: unknown }) {
  const unknown = () => props.error instanceof ApiError && props.error.status === 404;
  return (
    <Empty title={unknown() ? 'The cluster does not know this task.' : 'The task could not be read.'}>
      {unknown()
        ? 'It may have ended so long ago that it was forgotten.'
        : props.error instanceof Error
          ? props.error.message
          : String(props.error)}
    </Empty>
  );
}

function Facts(props: { task: Task; live: Live }) {
  const framework = () => props.live.state().frameworks.get(props.task.framework_id);
  const agent = () => props.live.state().agents.get(props.task.agent_id ?? '');
  return (
    <dl class="facts">
      <Fact label="Framework">
        <a href={viewHash('tasks', `framework:${props.task.framework_id}`)} title={props.task.framework_id}>
          {framework()?.name || props.task.framework_id}
        </a>
      </Fact>
      <Fact label="Agent">
        <Show when={props.task.agent_id} fallback="–">
          <a href={viewHash('tasks', `agent:${props.task.agent_id}`)} title={props.task.agent_id}>
            {agent()?.hostname ?? props.task.agent_id}
          </a>
        </Show>
      </Fact>
      <Fact label="Resources">{formatResources(props.task.resources)}</Fact>
      <Show when={props.task.resources?.ports}>
        <Fact label="Ports">
          <span class="mono">{props.task.resources.ports}</span>
        </Fact>
      </Show>
      <Fact label="Created">{formatDateTime(props.task.created_ms)}</Fact>
      <Show when={props.task.container?.image || props.task.container?.type}>
        <Fact label="Container">
          <span class="mono">
            {[props.task.container?.type?.toLowerCase(), props.task.container?.image].filter(Boolean).join(' · ')}
          </span>
        </Fact>
      </Show>
      <Show when={props.task.executor_id}>
        <Fact label="Executor">
          <span class="mono">{props.task.executor_id}</span>
        </Fact>
      </Show>
      <Show when={props.task.healthy !== null && props.task.healthy !== undefined}>
        <Fact label="Health">{props.task.healthy ? 'healthy' : <span class="bad">unhealthy</span>}</Fact>
      </Show>
      <Show when={props.task.exit_code !== null && props.task.exit_code !== undefined}>
        <Fact label="Exit code">
          <span class="mono" classList={{ bad: props.task.exit_code !== 0 }}>
            {props.task.exit_code}
          </span>
        </Fact>
      </Show>
      <Show when={props.task.labels?.length}>
        <Fact label="Labels">
          <Tags items={props.task.labels!.map((label) => (label.value ? `${label.key}=${label.value}` : label.key))} />
        </Fact>
      </Show>
    </dl>
  );
}

function Fact(props: { label: string; children: JSX.Element }) {
  return (
    <div class="facts-row">
      <dt>{props.label}</dt>
      <dd>{props.children}</dd>
    </div>
  );
}

function History(props: { task: Task; now: number }) {
  // Newest first; how long a state lasted is the time to the next one, or until now.
  const steps = createMemo(() => {
    const statuses = [...(props.task.statuses ?? [])].sort((a, b) => a.timestamp_ms - b.timestamp_ms);
    return statuses.map((status, index) => ({ status, until: statuses[index + 1]?.timestamp_ms })).reverse();
  });
  const lasted = (status: TaskStatus, until: number | undefined) =>
    until === undefined && isTerminal(status.state) ? '' : formatDuration((until ?? props.now) - status.timestamp_ms);
  return (
    <section class="history" aria-label="Status history">
      <h3>History</h3>
      <Show when={steps().length > 0} fallback={<p class="faint">No status update yet.</p>}>
        <ol>
          <For each={steps()}>
            {(step) => (
              <li class={`tone-${taskTone(step.status.state)}`}>
                <i class="mark" aria-hidden="true" />
                <span class="history-state">{stateLabel(step.status.state)}</span>
                <span class="faint">
                  {[formatDateTime(step.status.timestamp_ms), sourceOf(step.status)].filter(Boolean).join(' ')}
                </span>
                <span class="history-lasted faint">{lasted(step.status, step.until)}</span>
                <Show when={step.status.message || step.status.reason}>
                  <span class="history-why">
                    {[step.status.message, formatReason(step.status.reason)].filter(Boolean).join(' · ')}
                  </span>
                </Show>
              </li>
            )}
          </For>
        </ol>
      </Show>
    </section>
  );
}

function sourceOf(status: TaskStatus): string {
  return status.source ? `from ${status.source.replace(/^SOURCE_/, '').toLowerCase()}` : '';
}

function KillButton(props: { task: Task; toast: Props['toast'] }) {
  let dialog!: HTMLDialogElement;
  const [busy, setBusy] = createSignal(false);
  const name = () => props.task.name || props.task.id;

  async function kill() {
    setBusy(true);
    try {
      await killTask(props.task.framework_id, props.task.id);
      props.toast('good', `Kill of ${name()} was accepted.`);
    } catch (error) {
      props.toast('bad', `${name()} was not killed: ${error instanceof Error ? error.message : error}`);
    } finally {
      setBusy(false);
      dialog.close();
    }
  }

  return (
    <Show when={!isTerminal(props.task.state)}>
      <button type="button" class="button danger" data-test="kill" onClick={() => dialog.showModal()}>
        Kill
      </button>
      <dialog
        ref={dialog}
        class="confirm"
        aria-labelledby="confirm-title"
        onClick={(event) => event.target === dialog && dialog.close()}
      >
        <div class="confirm-body">
          <h3 id="confirm-title">Kill {name()}?</h3>
          <p>
            The task is asked to stop, and is stopped by force after its grace period. Its framework may start another
            in its place.
          </p>
          <div class="confirm-actions">
            <button type="button" class="button" autofocus onClick={() => dialog.close()}>
              Keep it
            </button>
            <button type="button" class="button danger solid" data-test="kill-confirm" disabled={busy()} onClick={kill}>
              {busy() ? 'Killing…' : 'Kill task'}
            </button>
          </div>
        </div>
      </dialog>
    </Show>
  );
}
