// What a task writes to stdout and stderr, followed by polling.

import { createEffect, createSignal, For, on, onCleanup, Show } from 'solid-js';
import { ApiError, readFile, type Stream } from '../api';
import { formatBytes } from '../model/format';
import { appendChunk, CHUNK_BYTES, EMPTY_LOG, prependChunk, tailOffset, type LogText } from '../model/log';
import type { ToastTone } from './Toasts';

interface Props {
  frameworkId: string;
  taskId: string;
  /** A task that ended writes no more; its log is still read to the end. */
  ended: boolean;
  toast: (tone: ToastTone, text: string) => void;
}

const STREAMS: readonly Stream[] = ['stdout', 'stderr'];
const POLL_MS = 1000;
const POLL_ENDED_MS = 5000;
const DOWNLOAD_LIMIT_BYTES = 256 * 1024 * 1024;

export function LogViewer(props: Props) {
  let box!: HTMLPreElement;
  const [stream, setStream] = createSignal<Stream>('stdout');
  const [log, setLog] = createSignal<LogText>(EMPTY_LOG);
  const [error, setError] = createSignal('');
  const [loaded, setLoaded] = createSignal(false);
  const [follow, setFollow] = createSignal(true);
  const [wrap, setWrap] = createSignal(true);
  const [saving, setSaving] = createSignal(false);
  const read = (offset: number, length: number) => readFile(props.frameworkId, props.taskId, stream(), offset, length);

  createEffect(
    on(stream, () => {
      setLog(EMPTY_LOG);
      setLoaded(false);
      setError('');
      const stop = poll();
      onCleanup(stop);
    }),
  );
  createEffect(
    on([log, follow, wrap], () => {
      if (follow()) box.scrollTop = box.scrollHeight;
    }),
  );

  // One reader per stream: reads on without a pause while the file has more than was asked for, then waits.
  function poll(): () => void {
    let stopped = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    async function step() {
      const behind = await advance(() => stopped);
      if (stopped) return;
      timer = setTimeout(step, behind ? 0 : props.ended ? POLL_ENDED_MS : POLL_MS);
    }
    void step();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }

  async function advance(stopped: () => boolean): Promise<boolean> {
    if (loaded() && !follow()) return false;
    try {
      let current = log();
      if (!loaded()) {
        const { size } = await read(0, 1);
        current = { ...EMPTY_LOG, start: tailOffset(size), next: tailOffset(size), size };
      }
      const chunk = await read(current.next, CHUNK_BYTES);
      if (stopped()) return false;
      const next = appendChunk(current, chunk, CHUNK_BYTES);
      if (!loaded() || next.text !== current.text || next.size !== current.size) setLog(next);
      setLoaded(true);
      setError('');
      return next.next < next.size && next.next > current.next;
    } catch (failure) {
      if (!stopped()) setError(describe(failure));
      return false;
    }
  }

  async function loadEarlier() {
    const end = log().start;
    const offset = tailOffset(end);
    setFollow(false);
    try {
      const height = box.scrollHeight;
      const chunk = await read(offset, end - offset);
      setLog((current) => (current.start === end ? prependChunk(current, chunk) : current));
      box.scrollTop += box.scrollHeight - height;
    } catch (failure) {
      setError(describe(failure));
    }
  }

  async function download() {
    const name = stream();
    setSaving(true);
    try {
      const parts = await readAll(read);
      const link = document.createElement('a');
      link.href = URL.createObjectURL(new Blob(parts, { type: 'text/plain' }));
      link.download = `${props.taskId}.${name}.log`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (failure) {
      props.toast('bad', `${name} was not downloaded: ${describe(failure)}`);
    } finally {
      setSaving(false);
    }
  }

  // Scrolling up stops the following, scrolling back to the end takes it up again.
  function onScroll() {
    const distance = box.scrollHeight - box.scrollTop - box.clientHeight;
    if (distance > 40 && follow()) setFollow(false);
    else if (distance < 4 && !follow()) setFollow(true);
  }

  return (
    <section class="logs" aria-label="Logs">
      <header class="logs-head">
        <div class="tabs" role="tablist" aria-label="Stream">
          <For each={STREAMS}>
            {(name) => (
              <button
                type="button"
                role="tab"
                aria-selected={stream() === name}
                aria-controls="log-text"
                onClick={() => setStream(name)}
              >
                {name}
              </button>
            )}
          </For>
        </div>
        <span class="faint logs-size">{loaded() ? formatBytes(log().size) : ''}</span>
        <button
          type="button"
          class="toggle"
          aria-pressed={follow()}
          data-test="follow"
          onClick={() => setFollow(!follow())}
        >
          Follow
        </button>
        <button type="button" class="toggle" aria-pressed={wrap()} onClick={() => setWrap(!wrap())}>
          Wrap
        </button>
        <button
          type="button"
          class="toggle"
          disabled={saving() || log().size === 0}
          data-test="download"
          onClick={download}
        >
          {saving() ? 'Saving…' : 'Download'}
        </button>
      </header>
      <Show when={log().start > 0}>
        <button type="button" class="logs-earlier" onClick={loadEarlier}>
          Load earlier ({formatBytes(log().start)} more)
        </button>
      </Show>
      <pre
        ref={box}
        id="log-text"
        class="log"
        classList={{ wrap: wrap() }}
        role="tabpanel"
        tabindex="0"
        aria-label={stream()}
        onScroll={onScroll}
      >
        {log().text}
      </pre>
      <Show when={error() || (loaded() && log().size === 0)}>
        <p class="logs-note" classList={{ bad: !!error() }}>
          {error() || `Nothing on ${stream()} yet.`}
        </p>
      </Show>
    </section>
  );
}

async function readAll(
  read: (offset: number, length: number) => Promise<{ data: string; size: number; offset: number }>,
): Promise<string[]> {
  const parts: string[] = [];
  let log: LogText = EMPTY_LOG;
  for (;;) {
    const chunk = await read(log.next, CHUNK_BYTES);
    if (chunk.size > DOWNLOAD_LIMIT_BYTES)
      throw new Error(`it has more than ${formatBytes(DOWNLOAD_LIMIT_BYTES)}; use mesos logs`);
    const next = appendChunk({ ...log, text: '' }, chunk, CHUNK_BYTES);
    if (next.next <= log.next) return parts;
    parts.push(next.text);
    log = next;
    if (log.next >= log.size) return parts;
  }
}

function describe(failure: unknown): string {
  if (failure instanceof ApiError && failure.status === 404)
    return 'The file is not there: the task has not started, or its sandbox is gone.';
  return failure instanceof Error ? failure.message : String(failure);
}
