// Filtering and sorting of table rows.

import { stateRank } from './states';
import type { Agent, Framework, Task } from './types';

export type Direction = 'asc' | 'desc';
export interface Sort {
  column: string;
  direction: Direction;
}

type Value = string | number | null | undefined;

const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/** A sorted copy; equal rows keep their order, and rows without a value come last in both directions. */
export function sortRows<T>(rows: readonly T[], value: (row: T) => Value, direction: Direction): T[] {
  const sign = direction === 'asc' ? 1 : -1;
  const keyed = rows.map((row) => ({ row, value: value(row) }));
  keyed.sort((a, b) => {
    const missing = Number(isMissing(a.value)) - Number(isMissing(b.value));
    if (missing !== 0 || isMissing(a.value)) return missing;
    return sign * compare(a.value, b.value);
  });
  return keyed.map((entry) => entry.row);
}

/** A second click on a column turns it around; the first takes the direction that suits the column. */
export function nextSort(current: Sort, column: string, first: Direction): Sort {
  if (current.column !== column) return { column, direction: first };
  return { column, direction: current.direction === 'asc' ? 'desc' : 'asc' };
}

export interface Names {
  agents: ReadonlyMap<string, Agent>;
  frameworks: ReadonlyMap<string, Framework>;
}

/**
 * A predicate from what was typed. Words are joined by "and"; `agent:`, `framework:`, `state:`, `name:`, `id:` look at
 * one column and take alternatives (`state:failed,lost`), a leading `-` turns a word around, and a bare word is sought
 * in name, id, reason, message and labels.
 */
export function taskFilter(query: string, names: Names): (task: Task) => boolean {
  const terms = query
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '' && word !== '-')
    .map(parseTerm);
  return (task) =>
    terms.every((term) => {
      const text = fieldOf(task, term.field, names);
      return term.texts.some((wanted) => text.includes(wanted)) !== term.negated;
    });
}

/** How many tasks are in each state, in the order in which the chips stand. */
export function stateCounts(tasks: Iterable<Task>): [state: string, count: number][] {
  const counts = new Map<string, number>();
  for (const task of tasks) counts.set(task.state, (counts.get(task.state) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => stateRank(a) - stateRank(b) || compare(a, b));
}

interface Term {
  field: string;
  /** Any of these is enough. */
  texts: string[];
  negated: boolean;
}

const FIELDS = new Set(['agent', 'framework', 'state', 'name', 'id']);

function parseTerm(word: string): Term {
  const negated = word.startsWith('-');
  const body = negated ? word.slice(1) : word;
  const colon = body.indexOf(':');
  const field = body.slice(0, Math.max(0, colon));
  if (FIELDS.has(field)) return { field, texts: alternatives(body.slice(colon + 1)), negated };
  return { field: 'any', texts: [body], negated };
}

// A comma at the end is somebody still typing, not a wish for everything.
function alternatives(text: string): string[] {
  const found = text.split(',').filter(Boolean);
  return found.length > 0 ? found : [''];
}

// U+0001 between the parts keeps a word from matching across two of them.
function fieldOf(task: Task, field: string, names: Names): string {
  return partsOf(task, field, names).filter(Boolean).join('\u0001').toLowerCase();
}

function partsOf(task: Task, field: string, names: Names): (string | null | undefined)[] {
  switch (field) {
    case 'agent':
      return [task.agent_id, names.agents.get(task.agent_id ?? '')?.hostname];
    case 'framework':
      return [task.framework_id, names.frameworks.get(task.framework_id)?.name];
    case 'state':
      return [task.state];
    case 'name':
      return [task.name];
    case 'id':
      return [task.id];
    default:
      return [
        task.name,
        task.id,
        task.reason,
        task.message,
        ...(task.labels ?? []).map((l) => `${l.key}=${l.value ?? ''}`),
      ];
  }
}

function isMissing(value: Value): value is null | undefined {
  return value === null || value === undefined || value === '';
}

function compare(a: Value, b: Value): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return collator.compare(String(a), String(b));
}
