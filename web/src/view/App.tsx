// The page: header, the sections that the address asks for, the task drawer, toasts.

import { createEffect, createMemo, createSignal, onCleanup, Show } from 'solid-js';
import { createLive } from '../live';
import { parseHash, viewHash, type View } from '../model/route';
import { Agents } from './Agents';
import { Frameworks } from './Frameworks';
import { Header } from './Header';
import { Login } from './Login';
import { ResourcesPanel } from './ResourcesPanel';
import { Roles } from './Roles';
import { TaskDrawer } from './TaskDrawer';
import { Tasks } from './Tasks';
import { createToasts, Toasts } from './Toasts';

export function App() {
  const live = createLive();
  const toasts = createToasts();
  const [hash, setHash] = createSignal(location.hash);
  const route = createMemo(() => parseHash(hash()));

  // The list behind an open drawer stays the one that the drawer was opened from.
  const [back, setBack] = createSignal<{ view: View; query: string }>({ view: 'overview', query: '' });
  createEffect(() => {
    const { view, query, task } = route();
    if (!task) setBack({ view, query });
  });
  const view = () => back().view;
  const shows = (section: View) => view() === 'overview' || view() === section;

  const follow = () => setHash(location.hash);
  addEventListener('hashchange', follow);
  addEventListener('keydown', shortcut);
  onCleanup(() => {
    removeEventListener('hashchange', follow);
    removeEventListener('keydown', shortcut);
  });

  function closeDrawer() {
    location.hash = viewHash(back().view, back().query);
  }

  // Typing in the filter replaces the address without a step in the browser's history.
  function setQuery(query: string) {
    const target = viewHash(view(), query);
    history.replaceState(null, '', target);
    setHash(target);
  }

  function shortcut(event: KeyboardEvent) {
    const typing = (event.target as Element | null)?.closest('input, textarea, select, dialog');
    if (event.key === 'Escape' && route().task && !typing) closeDrawer();
    if (event.key !== '/' || typing || event.ctrlKey || event.metaKey) return;
    const filter = document.getElementById('task-filter');
    if (!filter) return;
    event.preventDefault();
    filter.focus();
  }

  createEffect(() => {
    const name = live.state().cluster?.cluster;
    document.title = name ? `${name} · Mesos` : 'Mesos';
  });

  return (
    <>
      <Header live={live} view={view()} />
      <main classList={{ single: view() !== 'overview' }}>
        <Show when={view() === 'overview'}>
          <ResourcesPanel live={live} />
          <div class="pair">
            <Agents live={live} fill={false} />
            <Frameworks live={live} fill={false} />
          </div>
        </Show>
        <Show when={view() === 'agents'}>
          <Agents live={live} fill />
        </Show>
        <Show when={view() === 'frameworks'}>
          <Frameworks live={live} fill />
        </Show>
        <Show when={view() === 'roles'}>
          <Roles toast={toasts.add} />
        </Show>
        <Show when={shows('tasks')}>
          <Tasks
            live={live}
            fill={view() === 'tasks'}
            query={back().query}
            onQuery={setQuery}
            selected={route().task}
          />
        </Show>
      </main>
      <Show when={route().task} keyed>
        {(task) => (
          <TaskDrawer
            live={live}
            frameworkId={task.frameworkId}
            taskId={task.taskId}
            toast={toasts.add}
            onClose={closeDrawer}
          />
        )}
      </Show>
      <Toasts toasts={toasts} />
      <Login />
    </>
  );
}
