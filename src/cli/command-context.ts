/**
 * What `main.ts` prepares and every command receives.
 *
 * When a command runs, the log is open, the current directory is the work directory and --close is done.
 */

import type { Logger } from '../base/log.ts';
import type { CriuOptions } from '../options/criu-options.ts';

export interface CommandContext {
  readonly options: Readonly<CriuOptions>;
  /** What stands after the command: the sub-command of cpuinfo, or the program of --exec-cmd. */
  readonly args: readonly string[];
  /** Bound to the command's name. */
  readonly log: Logger;
  /** The descriptor that log lines go to; output of action scripts goes there too. */
  readonly logFd: number;
  /** Absolute, byte string; exists. */
  readonly imagesDir: string;
  /** Absolute, byte string; the current directory. */
  readonly workDir: string;
}

/**
 * Every module in `commands/` exports `run`. It returns the exit status; a failure is thrown as a CriuError, which
 * `main.ts` logs and turns into the exit status and the closing line.
 */
export interface CommandModule {
  run(context: CommandContext): number | Promise<number>;
}
