// Keeps the page's copy of the cluster alive from the gateway's event stream.

import { createSignal, onCleanup } from 'solid-js';
import { apiUrl } from './api';
import { addSample, sampleOf, type Sample } from './model/history';
import { applyDelta, EMPTY, fromSnapshot, type ClusterState } from './model/state';
import type { Delta, Snapshot } from './model/types';

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

// EventSource reconnects by itself after a broken connection, but gives up after an answer that is not a stream
// (a proxy's 502, say); then a new one is opened, less and less often.
function openStream(handlers: Handlers): { reopen: () => void; close: () => void } {
  let source: EventSource;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let wait = RETRY_MIN_MS;

  function open() {
    source = new EventSource(apiUrl('events'));
    source.addEventListener('snapshot', (event) => {
      wait = RETRY_MIN_MS;
      handlers.heard();
      handlers.snapshot(JSON.parse(event.data));
    });
    source.addEventListener('delta', (event) => {
      handlers.heard();
      handlers.delta(JSON.parse(event.data));
    });
    source.addEventListener('heartbeat', handlers.heard);
    source.onerror = () => {
      handlers.lost();
      if (source.readyState !== EventSource.CLOSED) return;
      clearTimeout(retry);
      retry = setTimeout(open, wait);
      wait = Math.min(RETRY_MAX_MS, wait * 2);
    };
  }

  function close() {
    clearTimeout(retry);
    source.close();
  }

  open();
  return {
    close,
    reopen: () => {
      close();
      open();
    },
  };
}
