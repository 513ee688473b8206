/**
 * What `main.ts` prepares and every command receives.
 *
 * When a command runs, the log is open, the current directory is the work directory and --close is done.
 */

import type { Logger } from '../base/log.ts';
import type { CriuOptions, ExternalResource } from '../options/criu-options.ts';
import type { Notify } from './action-script.ts';

/** The client of a request (RPC), for the commands that it asks for. */
export interface RequestClient {
  /** Inode of our end of the connection: the peer of the client's socket. */
  readonly socketInode: number;
  /** notify_scripts: the client wants to hear of hooks. */
  readonly notify: Notify | undefined;
  /** The hook query-ext-files: keys of `--external` that the client knows only now. Throws CriuError. */
  queryExternal(): readonly ExternalResource[];
  /** orphan_pts_master: takes the master sides of terminals whose slaves alone are in the tree. Throws CriuError. */
  readonly offerMaster: ((fd: number) => void) | undefined;
  /** Capabilities that this process has for its work and the client does not: no restored task may have them. */
  readonly borrowedCapabilities: bigint;
  /** Takes the pid of the restored root task for the answer. */
  restored(pid: number): void;
}

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
  /** Absolute, byte string: where criu was started. */
  readonly startDir: string;
  /** Absolute, byte string; the current directory. */
  readonly workDir: string;
  /** Absent on the command line. */
  readonly client?: RequestClient | undefined;
}

/**
 * Every module in `commands/` exports `run`. It returns the exit status; a failure is thrown as a CriuError, which
 * `main.ts` logs and turns into the exit status and the closing line.
 */
export interface CommandModule {
  run(context: CommandContext): number | Promise<number>;
}
