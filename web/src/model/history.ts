// The last minutes of the cluster's resources, as the chart draws them. The gateway keeps no history; the page does.

import type { Cluster, Scalar } from './types';
import { SCALARS } from './types';

export const WINDOW_MS = 5 * 60_000;

export interface Sample {
  time_ms: number;
  used: Record<Scalar, number>;
  offered: Record<Scalar, number>;
  total: Record<Scalar, number>;
}

/** Adds a sample and drops what left the window. A clock that jumped back starts anew: x must rise. */
export function addSample(history: readonly Sample[], sample: Sample, windowMs = WINDOW_MS): Sample[] {
  const last = history.at(-1);
  if (last && sample.time_ms <= last.time_ms) return sample.time_ms < last.time_ms - 1000 ? [sample] : [...history];
  return [...history.filter((old) => old.time_ms >= sample.time_ms - windowMs), sample];
}

export function sampleOf(cluster: Cluster, timeMs: number): Sample {
  const pick = (amounts: Partial<Record<Scalar, number>>) =>
    Object.fromEntries(SCALARS.map((kind) => [kind, amounts[kind] ?? 0])) as Record<Scalar, number>;
  const { used, offered, total } = cluster.resources;
  return { time_ms: timeMs, used: pick(used), offered: pick(offered), total: pick(total) };
}

/** How much of time the chart shows: as much as is known, between one minute and the window. */
export function spanMs(history: readonly Sample[], now: number): number {
  const known = now - (history[0]?.time_ms ?? now);
  return Math.min(WINDOW_MS, Math.max(60_000, known));
}

/** Columns for the chart: seconds, used, used + offered, total. */
export function columns(history: readonly Sample[], kind: Scalar): [number[], number[], number[], number[]] {
  return [
    history.map((sample) => sample.time_ms / 1000),
    history.map((sample) => sample.used[kind]),
    history.map((sample) => sample.used[kind] + sample.offered[kind]),
    history.map((sample) => sample.total[kind]),
  ];
}
