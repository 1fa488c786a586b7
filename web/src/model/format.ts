// Numbers, times and ids as people read them.

import type { Resources, Scalar } from './types';
import { SCALARS } from './types';

/** At most three decimals, as Mesos counts, without trailing zeros; big numbers get separators. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const digits = Math.abs(value) >= 100 ? 1 : 3;
  return value.toLocaleString('en-US', { maximumFractionDigits: digits });
}

/** Megabytes (2^20 bytes) in the largest unit that keeps at least one whole digit. */
export function formatMegabytes(megabytes: number): string {
  if (!Number.isFinite(megabytes)) return '–';
  const units = ['MB', 'GB', 'TB', 'PB'];
  let value = megabytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toLocaleString('en-US', { maximumFractionDigits: digits })} ${units[unit]}`;
}

export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${formatNumber(Math.round((bytes / 1024) * 10) / 10)} KB`;
  return formatMegabytes(bytes / (1024 * 1024));
}

export function formatScalar(kind: Scalar, value: number): string {
  return kind === 'mem' || kind === 'disk' ? formatMegabytes(value) : formatNumber(value);
}

/** One line such as `0.5 cpu · 128 MB · 1 gpu`; what is zero is left out. Disk is named, since it has memory's unit. */
export function formatResources(resources: Resources | undefined): string {
  const parts: string[] = [];
  if (resources?.cpus) parts.push(`${formatNumber(resources.cpus)} cpu`);
  if (resources?.mem) parts.push(formatMegabytes(resources.mem));
  if (resources?.gpus) parts.push(`${formatNumber(resources.gpus)} gpu`);
  if (resources?.disk) parts.push(`${formatMegabytes(resources.disk)} disk`);
  return parts.join(' · ') || '–';
}

/** A span of time in its two largest units: `8s`, `2m 05s`, `3h 12m`, `4d 7h`. Negative spans are clock skew: `0s`. */
/** Amounts by name, the usual ones first; a dash for none. */
export function formatAmounts(amounts: Record<string, number> | undefined): string {
  const order = (name: string) => (SCALARS as readonly string[]).concat(name).indexOf(name);
  const names = Object.keys(amounts ?? {}).sort((a, b) => order(a) - order(b) || a.localeCompare(b));
  const text = (name: string) => `${name} ${formatScalar(name as Scalar, amounts?.[name] ?? 0)}`;
  return names.map(text).join(', ') || '–';
}

export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m ${pad(seconds % 60)}s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours}h ${pad(minutes % 60)}m`;
  return `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

/** How long ago `then` was; a time that nobody gave is a dash. */
export function formatAge(then: number | undefined, now: number): string {
  return then ? formatDuration(now - then) : '–';
}

/** Local wall clock, `14:03:09`. */
export function formatClock(milliseconds: number): string {
  const date = new Date(milliseconds);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

export function formatDateTime(milliseconds: number | undefined): string {
  if (!milliseconds) return '–';
  const date = new Date(milliseconds);
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  const fraction = String(date.getMilliseconds()).padStart(3, '0');
  return `${day} ${formatClock(milliseconds)}.${fraction}`;
}

/** Long ids keep their head and their tail, where the counter is. */
export function shortId(id: string | undefined, keep = 18): string {
  if (!id) return '–';
  if (id.length <= keep) return id;
  const tail = Math.floor((keep - 1) / 2);
  return `${id.slice(0, keep - 1 - tail)}…${id.slice(-tail)}`;
}

/** `REASON_COMMAND_EXECUTOR_FAILED` → `command executor failed`. */
export function formatReason(reason: string | null | undefined): string {
  return (reason ?? '')
    .replace(/^REASON_/, '')
    .replaceAll('_', ' ')
    .toLowerCase();
}

/** `1 task`, `2 tasks`. */
export function count(amount: number, noun: string): string {
  return `${amount.toLocaleString('en-US')} ${noun}${amount === 1 ? '' : 's'}`;
}

/** `used / total`, 0 where there is nothing of it. */
export function fraction(used: number | undefined, total: number | undefined): number {
  if (!total || total <= 0) return 0;
  return Math.min(1, Math.max(0, (used ?? 0) / total));
}

export function formatPercent(share: number): string {
  const percent = share * 100;
  if (percent > 0 && percent < 0.1) return '<0.1%';
  return `${percent.toLocaleString('en-US', { maximumFractionDigits: percent < 10 ? 1 : 0 })}%`;
}

/** The largest fraction that `used` takes of any resource of the cluster, and of which: what fairness is measured by. */
export function dominantShare(used: Resources, total: Resources): { share: number; resource: Scalar | null } {
  let best: { share: number; resource: Scalar | null } = { share: 0, resource: null };
  for (const resource of SCALARS) {
    const share = fraction(used[resource], total[resource]);
    if (share > best.share) best = { share, resource };
  }
  return best;
}

function pad(value: number): string {
  return String(value).padStart(2, '0');
}
