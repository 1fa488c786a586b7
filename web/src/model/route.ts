// The page's addresses, all behind the `#`: a link to a task, or to a filtered list, can be passed on.

export type View = 'overview' | 'agents' | 'frameworks' | 'roles' | 'tasks';

export interface Route {
  view: View;
  /** What the task filter holds. */
  query: string;
  /** The task whose drawer is open. */
  task: { frameworkId: string; taskId: string } | null;
}

const VIEWS: readonly View[] = ['overview', 'agents', 'frameworks', 'roles', 'tasks'];

/** An address that means nothing is the overview, never an error. */
export function parseHash(hash: string): Route {
  const [path = '', search = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  const query = new URLSearchParams(search).get('q') ?? '';
  const [first = '', frameworkId, taskId] = path.split('/').map(decode);
  const view = VIEWS.find((known) => known === first) ?? 'overview';
  const task = view === 'tasks' && frameworkId && taskId ? { frameworkId, taskId } : null;
  return { view, query, task };
}

export function viewHash(view: View, query = ''): string {
  const path = view === 'overview' ? '#/' : `#/${view}`;
  return query ? `${path}?${new URLSearchParams({ q: query })}` : path;
}

export function taskHash(frameworkId: string, taskId: string): string {
  return `#/tasks/${encodeURIComponent(frameworkId)}/${encodeURIComponent(taskId)}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
