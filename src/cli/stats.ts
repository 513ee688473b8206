/** What --display-stats shows, in CRIU's words; the images stats-dump and stats-restore are written elsewhere. Pure. */

/** Times in microseconds. */
export interface DumpStats {
  /** From the first attempt to stop until all tasks stand. */
  readonly freezingTimeUs: number;
  /** From then until they run again or are gone. */
  readonly frozenTimeUs: number;
  readonly memdumpTimeUs: number;
  readonly memwriteTimeUs: number;
  /** Time to find the paths of watches; absent when there were none. */
  readonly irmapResolveUs?: number;
  readonly pagesScanned: number;
  readonly pagesSkippedParent: number;
  readonly pagesWritten: number;
  readonly pagesLazy: number;
  readonly pagePipes?: number;
  readonly pagePipeBufs?: number;
  readonly shpagesScanned?: number;
  readonly shpagesSkippedParent?: number;
  readonly shpagesWritten?: number;
}

export interface RestoreStats {
  readonly pagesCompared: number;
  readonly pagesSkippedCow: number;
  readonly pagesRestored?: number;
  readonly forkingTimeUs: number;
  readonly restoreTimeUs: number;
}

export function formatDumpStats(stats: DumpStats): string[] {
  const lines = [
    'Displaying dump stats:',
    `Freezing time: ${stats.freezingTimeUs} us`,
    `Frozen time: ${stats.frozenTimeUs} us`,
    `Memory dump time: ${stats.memdumpTimeUs} us`,
    `Memory write time: ${stats.memwriteTimeUs} us`,
  ];
  if (stats.irmapResolveUs !== undefined) lines.push(`IRMAP resolve time: ${stats.irmapResolveUs} us`);
  lines.push(
    `Memory pages scanned: ${count(stats.pagesScanned)}`,
    `Memory pages skipped from parent: ${count(stats.pagesSkippedParent)}`,
    `Memory pages written: ${count(stats.pagesWritten)}`,
    `Lazy memory pages: ${count(stats.pagesLazy)}`,
  );
  return lines;
}

export function formatRestoreStats(stats: RestoreStats): string[] {
  const lines = [
    'Displaying restore stats:',
    `Pages compared: ${count(stats.pagesCompared)}`,
    `Pages skipped COW: ${count(stats.pagesSkippedCow)}`,
  ];
  if (stats.pagesRestored !== undefined) lines.push(`Pages restored: ${count(stats.pagesRestored)}`);
  lines.push(`Restore time: ${stats.restoreTimeUs} us`, `Forking time: ${stats.forkingTimeUs} us`);
  return lines;
}

/** Decimal and hexadecimal, as CRIU prints every count. */
function count(value: number): string {
  return `${value} (0x${value.toString(16)})`;
}
