/** The last words of a dump or restore, as CRIU has them: callers and tests look for them in the log. */

export const DUMP_FINISHED = 'Dumping finished successfully';
export const DUMP_FAILED = 'Dumping FAILED.';
/** Said by the restore command itself, before it waits for the root task. */
export const RESTORE_FINISHED = 'Restore finished successfully. Tasks resumed.';
export const RESTORE_FAILED = 'Restoring FAILED.';
