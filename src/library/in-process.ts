/**
 * Checkpoint, restore and check inside of this process, for programs on Bun: the same path as a request (RPC), without
 * a process between. The work is synchronous; it must be done on the main thread, and needs root.
 */
import { CriuError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { silentLogger } from '../base/log.ts';
import { checkKernel } from '../check/check.ts';
import type { CommandContext, RequestClient } from '../cli/command-context.ts';
import { logEndOfDump, logFailure } from '../cli/outcome.ts';
import { createLogSink, currentDirectory, prepare, readConfigFile, readEnvironment } from '../cli/startup.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { cString, syscall } from '../linux/kernel.ts';
import { close } from '../linux/syscalls/fs.ts';
import { getpid } from '../linux/syscalls/process.ts';
import { parseRequest } from '../options/parse-request.ts';
import { type CheckpointOptions, type RequestOptions, toCriuOpts } from './request-options.ts';

/** Saves a tree of processes; this process must not be part of it. Throws CriuError; then the tree runs as before. */
export async function checkpoint(options: CheckpointOptions): Promise<void> {
  const { run } = await import('../cli/commands/dump.ts');
  runCommand('dump', options, (context, log) => {
    const status = run(context);
    logEndOfDump(log, status);
    if (status !== 0) throw new CriuError({ action: `a post-dump script ended with ${status}: the tree runs on` });
  });
}

/** Brings a tree back; its root is a child of this process. Throws CriuError; then nothing of the tree is there. */
export async function restore(options: RequestOptions): Promise<{ readonly pid: number }> {
  const { run } = await import('../cli/commands/restore.ts');
  let pid = -1;
  const client = {
    ...NOBODY,
    restored: (root: number) => {
      pid = root;
    },
  };
  runCommand('restore', options, (context) => run({ ...context, client }));
  return { pid };
}

export interface CheckResult {
  readonly isGood: boolean;
  /** What the kernel lacks, a line each. */
  readonly missing: readonly string[];
}

/** Asks the kernel for what every checkpoint needs. */
export async function check(): Promise<CheckResult> {
  const missing: string[] = [];
  const log: Logger = { ...silentLogger, warn: (text) => missing.push(text), child: () => log };
  const status = await checkKernel({ extra: false, experimental: false }, log);
  return { isGood: status === 0, missing };
}

/** Nobody is asked and nobody is told. */
const NOBODY: RequestClient = {
  socketInode: 0,
  notify: undefined,
  queryExternal: () => [],
  offerMaster: undefined,
  borrowedCapabilities: 0n,
  restored: () => {},
};

/** Folders, log and current directory are those of the work only while it lasts. */
function runCommand(
  command: 'dump' | 'restore',
  options: RequestOptions,
  run: (context: CommandContext, log: Logger) => void,
): void {
  const sink = createLogSink();
  const startDir = currentDirectory();
  let context: CommandContext | undefined;
  try {
    const line = parseRequest(toCriuOpts(options), {
      command,
      args: [],
      words: [],
      env: readEnvironment(),
      readFile: readConfigFile,
      readClientFile: readConfigFile,
      folder: (fd) => `/proc/self/fd/${fd}`,
      clientPid: getpid(),
      isOwnWorker: true,
    });
    sink.setLevel(line.options.logLevel);
    context = prepare(sink, command, line);
    run({ ...context, client: NOBODY }, sink.logger);
  } catch (error) {
    if (context !== undefined) logFailure(sink.logger.child(command), command, error, true);
    throw error;
  } finally {
    const fd = sink.detach();
    if (fd !== undefined && fd > 2) close(fd);
    syscall(SYS.chdir, cString(startDir));
  }
}
