import { describe, expect, it } from 'vitest';
import { agentTone, FAILURES, isTerminal, stateLabel, stateRank, taskTone } from './states';

describe('states', () => {
  it('read as words', () => {
    expect(stateLabel('TASK_GONE_BY_OPERATOR')).toBe('Gone by operator');
    expect(stateLabel('UNREACHABLE')).toBe('Unreachable');
  });

  it('that end a task are those of Mesos', () => {
    const ends = [
      'TASK_FINISHED',
      'TASK_FAILED',
      'TASK_KILLED',
      'TASK_ERROR',
      'TASK_LOST',
      'TASK_DROPPED',
      'TASK_GONE',
      'TASK_GONE_BY_OPERATOR',
    ];
    expect(ends.every(isTerminal)).toBe(true);
    expect(['TASK_RUNNING', 'TASK_KILLING', 'TASK_UNREACHABLE', 'TASK_UNKNOWN', 'TASK_NEW'].some(isTerminal)).toBe(
      false,
    );
  });

  it('have a tone even when unknown', () => {
    expect(taskTone('TASK_RUNNING')).toBe('good');
    expect(taskTone('TASK_NEW')).toBe('warn');
    expect(agentTone('UNREACHABLE')).toBe('bad');
    expect(stateRank('TASK_NEW')).toBeGreaterThan(stateRank('TASK_FINISHED'));
  });

  it('that tell of failure leave out a kill, which somebody wanted', () => {
    expect(FAILURES).toContain('TASK_LOST');
    expect(FAILURES).not.toContain('TASK_KILLED');
  });
});
