/** The last words of a dump or restore, as CRIU has them: callers and tests look for them in the log. */

export const DUMP_FINISHED = 'Dumping finished successfully';
export const DUMP_FAILED = 'Dumping FAILED.';
/** Said by the restore command itself, before it waits for the root task. */
export const RESTORE_FINISHED = 'Restore finished successfully. Tasks resumed.';
export const RESTORE_FAILED = 'Restoring FAILED.';

/** A browser has hundreds of findings; nobody reads them on a terminal. */
const FINDINGS_ON_STDERR_MAX = 10;

/** What is repeated on stderr when the log is a file: the findings, if there are several, and what failed. */
export function linesForStderr(findings: readonly string[], last: string, logFile: string): string[] {
  const shown = findings.slice(0, FINDINGS_ON_STDERR_MAX);
  const more = findings.length - shown.length;
  return [
    ...shown,
    `${last} (log${more === 0 ? '' : ` with ${more} more of the ${findings.length} findings`}: ${logFile})`,
  ];
}
