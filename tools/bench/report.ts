/** Numbers of the benchmark: medians, and the table that is printed. */
import type { Sample } from './measure.ts';

const METRICS: readonly { readonly key: keyof Sample; readonly label: string }[] = [
  { key: 'dump', label: 'dump' },
  { key: 'frozen', label: '  frozen, by its stats' },
  { key: 'restore', label: 'restore -d' },
  { key: 'tick', label: '  first tick' },
  { key: 'onceRestore', label: 'restore at once' },
  { key: 'onceTick', label: '  first tick' },
  { key: 'onceComplete', label: '  complete' },
  { key: 'dumpRunning', label: 'dump -R' },
  { key: 'freeze', label: '  freeze seen' },
  { key: 'images', label: 'images, MiB' },
];

/** All samples of one workload, by side. */
export interface Result {
  readonly workload: string;
  readonly what: string;
  readonly ours: readonly Sample[];
  /** Empty when there is no rival. */
  readonly rival: readonly Sample[];
  /** Runs that went wrong, and how. */
  readonly failures: readonly { readonly side: 'ours' | 'rival'; readonly why: string }[];
}

/** The middle value; the mean of both middle values when their number is even; undefined for none. */
export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return low === undefined || high === undefined ? undefined : (low + high) / 2;
}

export const least = (values: readonly number[]) => (values.length === 0 ? undefined : Math.min(...values));

function valuesOf(samples: readonly Sample[], key: keyof Sample): number[] {
  return samples.map((sample) => sample[key]).filter((value) => value !== undefined);
}

/** Three digits that matter. */
export function formatNumber(value: number | undefined): string {
  if (value === undefined) return '-';
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const COLUMNS = ['', 'ours', 'rival', 'rival/ours', 'ours min', 'rival min'];
const WIDTHS = [24, 10, 10, 11, 10, 10];

function row(cells: readonly string[]): string {
  return cells
    .map((cell, i) => (i === 0 ? cell.padEnd(WIDTHS[i] ?? 0) : cell.padStart(WIDTHS[i] ?? 0)))
    .join(' ')
    .trimEnd();
}

/** The table of one workload: medians, how many times longer the rival takes, minima. */
export function formatResult(result: Result): string {
  const runs = `${result.ours.length} runs${result.rival.length === 0 ? '' : ` against ${result.rival.length}`}`;
  const lines = [`${result.workload}: ${result.what} (ms, ${runs})`, row(COLUMNS)];
  for (const { key, label } of METRICS) {
    const [ours, rival] = [valuesOf(result.ours, key), valuesOf(result.rival, key)];
    const [a, b] = [median(ours), median(rival)];
    if (a === undefined && b === undefined) continue;
    const ratio = a === undefined || b === undefined || a === 0 ? '-' : `${(b / a).toFixed(2)}x`;
    const numbers = [a, b].map(formatNumber);
    lines.push(row([label, ...numbers, ratio, formatNumber(least(ours)), formatNumber(least(rival))]));
  }
  const kinds = new Map<string, number>();
  for (const { side, why } of result.failures) {
    // Pids and addresses differ from run to run.
    const kind = `${side}: ${why.replaceAll(/\b(0x[0-9a-f]+|\d{3,})\b/g, 'N')}`;
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  for (const [text, count] of kinds) lines.push(`  failed ${count} times, ${text}`);
  return lines.join('\n');
}
