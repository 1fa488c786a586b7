// What the page knows about task states: order, colour group, and which are the end.

export type Tone = 'good' | 'busy' | 'warn' | 'bad' | 'done' | 'idle';

interface StateInfo {
  tone: Tone;
  terminal: boolean;
}

// The order of the table is the order of the filter chips: what lives first, then what went wrong, then what is over.
const TASK_STATES: Record<string, StateInfo> = {
  TASK_RUNNING: { tone: 'good', terminal: false },
  TASK_STARTING: { tone: 'busy', terminal: false },
  TASK_STAGING: { tone: 'busy', terminal: false },
  TASK_KILLING: { tone: 'warn', terminal: false },
  TASK_UNREACHABLE: { tone: 'warn', terminal: false },
  TASK_UNKNOWN: { tone: 'warn', terminal: false },
  TASK_FAILED: { tone: 'bad', terminal: true },
  TASK_ERROR: { tone: 'bad', terminal: true },
  TASK_LOST: { tone: 'bad', terminal: true },
  TASK_DROPPED: { tone: 'bad', terminal: true },
  TASK_GONE: { tone: 'bad', terminal: true },
  TASK_GONE_BY_OPERATOR: { tone: 'bad', terminal: true },
  TASK_KILLED: { tone: 'idle', terminal: true },
  TASK_FINISHED: { tone: 'done', terminal: true },
};
const ORDER = Object.keys(TASK_STATES);

/** The states that say something went wrong. */
export const FAILURES: readonly string[] = ORDER.filter((state) => TASK_STATES[state]?.tone === 'bad');

const AGENT_TONES: Record<string, Tone> = {
  ACTIVE: 'good',
  UNREACHABLE: 'bad',
  DRAINING: 'warn',
  DRAINED: 'idle',
  DOWN: 'idle',
  DEACTIVATED: 'warn',
  GONE: 'idle',
};

export function taskTone(state: string): Tone {
  return TASK_STATES[state]?.tone ?? 'warn';
}

export function agentTone(state: string): Tone {
  return AGENT_TONES[state] ?? 'warn';
}

export function isTerminal(state: string): boolean {
  return TASK_STATES[state]?.terminal ?? false;
}

/** `TASK_GONE_BY_OPERATOR` → `Gone by operator`. */
export function stateLabel(state: string): string {
  const words = state
    .replace(/^TASK_/, '')
    .replaceAll('_', ' ')
    .toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** States this page does not know sort behind the known ones. */
export function stateRank(state: string): number {
  const rank = ORDER.indexOf(state);
  return rank < 0 ? ORDER.length : rank;
}
