// Keeps the page's copy of the cluster alive from the gateway's event stream.

import { createEffect, createSignal, on, onCleanup } from 'solid-js';
import { readEvents, type ServerEvent } from './events';
import { addSample, sampleOf, type Sample } from './model/history';
import { applyDelta, EMPTY, fromSnapshot, type ClusterState } from './model/state';
import type { Delta, Snapshot } from './model/types';
import { given } from './token';

export type Connection = 'connecting' | 'live' | 'reconnecting';

// A gateway beats at least every 15 s; three missed beats are a dead connection that TCP has not noticed.
const SILENCE_MS = 45_000;
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 10_000;

export interface Live {
  state: () => ClusterState;
  connection: () => Connection;
  history: () => readonly Sample[];
  /** The gateway's clock in milliseconds, moving once a second: ages stay right on a machine whose clock is off. */
  now: () => number;
}

export function createLive(): Live {
  const [state, setState] = createSignal<ClusterState>(EMPTY);
  const [connection, setConnection] = createSignal<Connection>('connecting');
  const [history, setHistory] = createSignal<readonly Sample[]>([]);
  const [now, setNow] = createSignal(Date.now());
  let skew = 0;
  let heard = Date.now();

  const stream = openStream({
    snapshot: (snapshot) => {
      skew = snapshot.cluster.time_ms ? snapshot.cluster.time_ms - Date.now() : 0;
      setState(fromSnapshot(snapshot));
      setConnection('live');
      sample();
    },
    delta: (delta) => setState((current) => applyDelta(current, delta)),
    heard: () => (heard = Date.now()),
    lost: () => setConnection((current) => (current === 'connecting' ? current : 'reconnecting')),
  });

  function sample() {
    const cluster = state().cluster;
    if (cluster && connection() === 'live') setHistory((old) => addSample(old, sampleOf(cluster, Date.now() + skew)));
  }

  const clock = setInterval(() => {
    setNow(Date.now() + skew);
    sample();
    if (Date.now() - heard > SILENCE_MS) {
      heard = Date.now();
      setConnection('reconnecting');
      stream.reopen();
    }
  }, 1000);
  onCleanup(() => {
    clearInterval(clock);
    stream.close();
  });
  return { state, connection, history, now };
}

interface Handlers {
  snapshot: (snapshot: Snapshot) => void;
  delta: (delta: Delta) => void;
  heard: () => void;
  lost: () => void;
}

// A stream that ended or failed is opened again, less and less often; at once when a token was given.
function openStream(handlers: Handlers): { reopen: () => void; close: () => void } {
  let current: AbortController | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let wait = RETRY_MIN_MS;

  function open() {
    const abort = new AbortController();
    current = abort;
    readEvents(abort.signal, take)
      .catch(() => undefined)
      .then(() => {
        if (abort.signal.aborted) return;
        handlers.lost();
        retry = setTimeout(open, wait);
        wait = Math.min(RETRY_MAX_MS, wait * 2);
      });
  }

  function take(event: ServerEvent) {
    handlers.heard();
    if (event.name === 'snapshot') {
      wait = RETRY_MIN_MS;
      handlers.snapshot(JSON.parse(event.data));
    }
    if (event.name === 'delta') handlers.delta(JSON.parse(event.data));
  }

  function close() {
    clearTimeout(retry);
    current?.abort();
  }

  function reopen() {
    close();
    wait = RETRY_MIN_MS;
    open();
  }

  open();
  createEffect(on(given, reopen, { defer: true }));
  return { close, reopen };
}
