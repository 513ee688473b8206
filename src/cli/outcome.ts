/** How a command ends in the log: the failure line by line, and the closing words. */

import { AssertionError, CriuError, CriuErrors, errorText, SyscallError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { CommandName } from '../options/commands.ts';
import { DUMP_FAILED, DUMP_FINISHED, RESTORE_FAILED } from './closing-lines.ts';

/** The last line of a failed dump or restore begins so; callers look for it. */
const FAILED: Partial<Record<CommandName, string>> = { dump: DUMP_FAILED, restore: RESTORE_FAILED };

/** A post-dump script may end a dump with a status of its own; then the tree runs on and the dump counts as failed. */
export function logEndOfDump(log: Logger, status: number): void {
  if (status === 0) log.info(DUMP_FINISHED);
  else log.child('dump').error(DUMP_FAILED);
}

/**
 * Logs each failure on a line of its own; the last line says in CRIU's words what failed and repeats the cause. Returns
 * the last line. `hasBegun`: whether folders and log were ready.
 */
export function logFailure(log: Logger, command: CommandName, error: unknown, hasBegun: boolean): string {
  for (const line of findingsOf(error)) log.error(line);
  const failed = hasBegun ? FAILED[command] : undefined;
  const last = failed === undefined ? describeFailure(error) : `${failed} ${describeFailure(error)}`;
  log.error(last);
  if (!(error instanceof CriuError) && error instanceof Error && error.stack !== undefined) log.debug(error.stack);
  return last;
}

/** What was found when it was more than one thing; else nothing. */
export function findingsOf(error: unknown): readonly string[] {
  return error instanceof CriuErrors ? error.lines.slice(1) : [];
}

/** A system call whose failure nobody expected is told as it is; anything else is a mistake of ours, and says so. */
export function describeFailure(error: unknown): string {
  if (error instanceof CriuError || error instanceof AssertionError) return error.message;
  if (error instanceof SyscallError) return `unexpected failure of ${error.message}`;
  return `bug in criu: ${errorText(error)}`;
}
