import { describe, expect, it } from 'vitest';
import * as f from './format';

describe('amounts', () => {
  it('by name have the usual ones first', () => {
    expect(f.formatAmounts({ zoo: 2, mem: 1536, cpus: 0.5 })).toBe('cpus 0.5, mem 1.5 GB, zoo 2');
    expect(f.formatAmounts({})).toBe('–');
    expect(f.formatAmounts(undefined)).toBe('–');
  });

  it('keep the thousandths that Mesos counts and lose trailing zeros', () => {
    expect(f.formatNumber(0.5)).toBe('0.5');
    expect(f.formatNumber(0.0014)).toBe('0.001');
    expect(f.formatNumber(1536)).toBe('1,536');
    expect(f.formatNumber(NaN)).toBe('–');
  });

  it('of memory come in the largest unit that fits', () => {
    expect(f.formatMegabytes(0)).toBe('0 MB');
    expect(f.formatMegabytes(128)).toBe('128 MB');
    expect(f.formatMegabytes(1536)).toBe('1.5 GB');
    expect(f.formatMegabytes(3 * 1024 * 1024)).toBe('3 TB');
    expect(f.formatMegabytes(1e15)).toMatch(/ PB$/);
  });

  it('of bytes start at bytes', () => {
    expect(f.formatBytes(12)).toBe('12 B');
    expect(f.formatBytes(1536)).toBe('1.5 KB');
    expect(f.formatBytes(5 * 1024 * 1024)).toBe('5 MB');
  });

  it('of a bundle leave out what is zero', () => {
    expect(f.formatResources({ cpus: 0.5, mem: 128, disk: 0, gpus: 1 })).toBe('0.5 cpu · 128 MB · 1 gpu');
    expect(f.formatResources({ disk: 1024 })).toBe('1 GB disk');
    expect(f.formatResources(undefined)).toBe('–');
  });
});

describe('times', () => {
  it('are told in two units', () => {
    expect(f.formatDuration(8_900)).toBe('8s');
    expect(f.formatDuration(125_000)).toBe('2m 05s');
    expect(f.formatDuration(3 * 3_600_000 + 12 * 60_000)).toBe('3h 12m');
    expect(f.formatDuration(4 * 86_400_000 + 7 * 3_600_000)).toBe('4d 7h');
  });

  it('never run backwards', () => {
    expect(f.formatDuration(-5000)).toBe('0s');
    expect(f.formatAge(undefined, 1000)).toBe('–');
    expect(f.formatAge(1000, 62_000)).toBe('1m 01s');
  });

  it('show milliseconds in full', () => {
    expect(f.formatDateTime(new Date(2026, 0, 2, 3, 4, 5, 6).getTime())).toBe('2026-01-02 03:04:05.006');
    expect(f.formatDateTime(0)).toBe('–');
  });
});

describe('words', () => {
  it('of ids keep head and tail', () => {
    expect(f.shortId('short')).toBe('short');
    expect(f.shortId('7d0f3c52-9a41-4be0-8f57-2f6a9f0be4c1-S12')).toBe('7d0f3c52-…e4c1-S12');
    expect(f.shortId(undefined)).toBe('–');
  });

  it('of reasons and counts are plain', () => {
    expect(f.formatReason('REASON_COMMAND_EXECUTOR_FAILED')).toBe('command executor failed');
    expect(f.formatReason(null)).toBe('');
    expect(f.count(1, 'task')).toBe('1 task');
    expect(f.count(1200, 'task')).toBe('1,200 tasks');
  });
});

describe('shares', () => {
  it('lie between nothing and all', () => {
    expect(f.fraction(1, 4)).toBe(0.25);
    expect(f.fraction(5, 4)).toBe(1);
    expect(f.fraction(1, 0)).toBe(0);
    expect(f.fraction(undefined, 4)).toBe(0);
  });

  it('are those of the dominant resource', () => {
    expect(f.dominantShare({ cpus: 1, mem: 512 }, { cpus: 10, mem: 1024 })).toEqual({ share: 0.5, resource: 'mem' });
    expect(f.dominantShare({}, { cpus: 10 })).toEqual({ share: 0, resource: null });
  });

  it('say more digits when small', () => {
    expect(f.formatPercent(0.5)).toBe('50%');
    expect(f.formatPercent(0.0123)).toBe('1.2%');
    expect(f.formatPercent(0.0001)).toBe('<0.1%');
    expect(f.formatPercent(0)).toBe('0%');
  });
});
