import { describe, expect, it } from 'vitest';
import { agent, framework, task } from './fixtures';
import { nextSort, sortRows, stateCounts, taskFilter } from './rows';

const names = {
  agents: new Map([['a1', agent({ hostname: 'node-7.east' })]]),
  frameworks: new Map([['f1', framework()]]),
};
const matches = (query: string, over = {}) => taskFilter(query, names)(task(over));

describe('sorting', () => {
  it('puts numbers in names in their natural order', () => {
    expect(sortRows(['n10', 'n9', 'N1'], (row) => row, 'asc')).toEqual(['N1', 'n9', 'n10']);
    expect(sortRows(['n10', 'n9'], (row) => row, 'desc')).toEqual(['n10', 'n9']);
  });

  it('leaves rows without a value at the end in both directions', () => {
    const rows = [{ v: null }, { v: 2 }, { v: 0 }, { v: undefined }];
    expect(sortRows(rows, (row) => row.v, 'asc').map((row) => row.v)).toEqual([0, 2, null, undefined]);
    expect(sortRows(rows, (row) => row.v, 'desc').map((row) => row.v)).toEqual([2, 0, null, undefined]);
  });

  it('keeps the order of equals and the input as it was', () => {
    const rows = [
      { id: 1, v: 1 },
      { id: 2, v: 1 },
      { id: 3, v: 0 },
    ];
    expect(sortRows(rows, (row) => row.v, 'desc').map((row) => row.id)).toEqual([1, 2, 3]);
    expect(rows[0]?.id).toBe(1);
  });

  it('turns around on the second click', () => {
    const first = nextSort({ column: 'name', direction: 'asc' }, 'cpus', 'desc');
    expect(first).toEqual({ column: 'cpus', direction: 'desc' });
    expect(nextSort(first, 'cpus', 'desc')).toEqual({ column: 'cpus', direction: 'asc' });
  });
});

describe('the task filter', () => {
  it('finds words in name, id, reason, message and labels', () => {
    expect(matches('WEB')).toBe(true);
    expect(matches('t1')).toBe(true);
    expect(matches('command', { reason: 'REASON_COMMAND_EXECUTOR_FAILED' })).toBe(true);
    expect(matches('team=core', { labels: [{ key: 'team', value: 'core' }] })).toBe(true);
    expect(matches('nothing')).toBe(false);
  });

  it('wants every word', () => {
    expect(matches('web t1')).toBe(true);
    expect(matches('web other')).toBe(false);
  });

  it('looks at one column when asked to', () => {
    expect(matches('agent:node-7')).toBe(true);
    expect(matches('agent:a1')).toBe(true);
    expect(matches('framework:marathon')).toBe(true);
    expect(matches('state:running')).toBe(true);
    expect(matches('name:t1')).toBe(false);
    expect(matches('id:t1')).toBe(true);
  });

  it('takes alternatives within a column, also while the next one is being typed', () => {
    expect(matches('state:failed,running')).toBe(true);
    expect(matches('state:failed,lost')).toBe(false);
    expect(matches('state:running,')).toBe(true);
    expect(matches('state:failed,')).toBe(false);
    expect(matches('state:')).toBe(true);
  });

  it('turns a word around with a minus', () => {
    expect(matches('-state:running')).toBe(false);
    expect(matches('-other')).toBe(true);
    expect(matches('-')).toBe(true);
  });

  it('takes an unknown prefix as part of the word', () => {
    expect(matches('http:8080', { name: 'http:8080' })).toBe(true);
  });

  it('does not match across two fields', () => {
    expect(matches('webt1')).toBe(false);
  });

  it('is all tasks when empty', () => {
    expect(matches('   ')).toBe(true);
  });
});

it('state counts come in the order of the chips, unknown states last', () => {
  const tasks = ['TASK_FINISHED', 'TASK_RUNNING', 'TASK_NEW_KIND', 'TASK_RUNNING', 'TASK_FAILED'].map((state) =>
    task({ state }),
  );
  expect(stateCounts(tasks)).toEqual([
    ['TASK_RUNNING', 2],
    ['TASK_FAILED', 1],
    ['TASK_FINISHED', 1],
    ['TASK_NEW_KIND', 1],
  ]);
});
