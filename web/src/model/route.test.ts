import { describe, expect, it } from 'vitest';
import { parseHash, taskHash, viewHash } from './route';

describe('addresses', () => {
  it('without a meaning are the overview', () => {
    for (const hash of ['', '#', '#/', '#/nowhere', '#/tasks%']) expect(parseHash(hash).view).toBe('overview');
  });

  it('of views come back as they went', () => {
    expect(parseHash(viewHash('agents'))).toEqual({ view: 'agents', query: '', task: null });
    expect(parseHash(viewHash('roles')).view).toBe('roles');
    expect(parseHash(viewHash('tasks', 'agent:a1 x&y=ü'))).toEqual({
      view: 'tasks',
      query: 'agent:a1 x&y=ü',
      task: null,
    });
    expect(parseHash(viewHash('overview', 'q')).query).toBe('q');
  });

  it('of tasks carry any id', () => {
    const route = parseHash(taskHash('uuid-0001', 'a b/c?d#e%'));
    expect(route).toEqual({ view: 'tasks', query: '', task: { frameworkId: 'uuid-0001', taskId: 'a b/c?d#e%' } });
  });

  it('with half a task are the list', () => {
    expect(parseHash('#/tasks/fw').task).toBeNull();
  });
});
