import { describe, expect, it } from 'vitest';
import { cluster } from './fixtures';
import { addSample, columns, sampleOf, spanMs, type Sample } from './history';

const at = (timeMs: number): Sample => sampleOf(cluster(), timeMs);
const times = (history: readonly Sample[]) => history.map((sample) => sample.time_ms);

describe('history', () => {
  it('drops what left the window', () => {
    let history: Sample[] = [];
    for (const time of [0, 1000, 2000, 3000]) history = addSample(history, at(time), 2000);
    expect(times(history)).toEqual([1000, 2000, 3000]);
  });

  it('takes a moment once and starts anew when the clock jumps back', () => {
    const history = [at(10_000)];
    expect(times(addSample(history, at(10_000)))).toEqual([10_000]);
    expect(times(addSample(history, at(9_500)))).toEqual([10_000]);
    expect(times(addSample(history, at(2_000)))).toEqual([2_000]);
  });

  it('stacks offered on used', () => {
    const sample = sampleOf(
      cluster({ resources: { total: { cpus: 8 }, used: { cpus: 2 }, offered: { cpus: 3 } } }),
      4000,
    );
    expect(columns([sample], 'cpus')).toEqual([[4], [2], [5], [8]]);
    expect(columns([sample], 'gpus')).toEqual([[4], [0], [0], [0]]);
  });

  it('shows between one minute and the window', () => {
    expect(spanMs([], 5)).toBe(60_000);
    expect(spanMs([at(0)], 90_000)).toBe(90_000);
    expect(spanMs([at(0)], 9_000_000)).toBe(300_000);
  });
});
