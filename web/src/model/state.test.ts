import { describe, expect, it } from 'vitest';
import { agent, cluster, framework, task } from './fixtures';
import { applyDelta, EMPTY, fromSnapshot } from './state';
import type { Snapshot } from './types';

const snapshot = (): Snapshot => ({
  cluster: cluster(),
  agents: [agent()],
  frameworks: [framework()],
  tasks: [task(), task({ id: 't2' })],
});

describe('the copy of the cluster', () => {
  it('holds tasks by framework and task id, since a task id may occur in two frameworks', () => {
    const state = fromSnapshot({ ...snapshot(), tasks: [task(), task({ framework_id: 'f2' })] });
    expect([...state.tasks.keys()]).toEqual(['f1/t1', 'f2/t1']);
  });

  it('replaces what a delta names and keeps the rest', () => {
    const before = fromSnapshot(snapshot());
    const after = applyDelta(before, { tasks: [task({ state: 'TASK_FINISHED' })] });
    expect(after.tasks.get('f1/t1')?.state).toBe('TASK_FINISHED');
    expect(after.tasks.get('f1/t2')).toBe(before.tasks.get('f1/t2'));
    expect(before.tasks.get('f1/t1')?.state).toBe('TASK_RUNNING');
  });

  it('keeps the identity of collections in which nothing changed', () => {
    const before = fromSnapshot(snapshot());
    const after = applyDelta(before, { tasks: [task()], agents: [], agents_removed: ['nobody'] });
    expect(after.agents).toBe(before.agents);
    expect(after.frameworks).toBe(before.frameworks);
    expect(after.tasks).not.toBe(before.tasks);
  });

  it('adds what is new and takes away what is removed', () => {
    const after = applyDelta(fromSnapshot(snapshot()), {
      agents: [agent({ id: 'a2' })],
      agents_removed: ['a1'],
      frameworks_removed: ['f1'],
      tasks_removed: ['f1/t2'],
    });
    expect([...after.agents.keys()]).toEqual(['a2']);
    expect(after.frameworks.size).toBe(0);
    expect([...after.tasks.keys()]).toEqual(['f1/t1']);
  });

  it('keeps a row that was removed and came back in one batch', () => {
    const after = applyDelta(fromSnapshot(snapshot()), { tasks: [task({ name: 'again' })], tasks_removed: ['f1/t1'] });
    expect(after.tasks.get('f1/t1')?.name).toBe('again');
  });

  it('merges the parts of the cluster that a delta carries', () => {
    const after = applyDelta(fromSnapshot(snapshot()), { cluster: { tasks: { TASK_FINISHED: 2 } } });
    expect(after.cluster?.tasks).toEqual({ TASK_FINISHED: 2 });
    expect(after.cluster?.version).toBe('0.1.0');
    expect(applyDelta(after, { cluster: null }).cluster).toBe(after.cluster);
  });

  it('shows rows but no totals when a delta comes before any snapshot', () => {
    const state = applyDelta(EMPTY, { cluster: { cluster: 'x' }, tasks: [task()] });
    expect(state.cluster).toBeNull();
    expect(state.tasks.size).toBe(1);
  });

  it('forgets everything old with a new snapshot', () => {
    expect(fromSnapshot({ cluster: cluster(), agents: [], frameworks: [], tasks: [] }).tasks.size).toBe(0);
  });

  it('reads absent amounts as nothing', () => {
    const bare = JSON.parse('{"cluster":{"cluster":"x"},"agents":[{"id":"a"}],"frameworks":[{"id":"f"}]}');
    const state = fromSnapshot(bare);
    expect(state.cluster?.resources.total).toEqual({});
    expect(state.cluster?.agents.total).toBe(0);
    expect(state.agents.get('a')?.used).toEqual({});
    expect(state.frameworks.get('f')?.offered).toEqual({});
    expect(state.tasks.size).toBe(0);
  });
});
