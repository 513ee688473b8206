/**
 * One run of criu: reads the command line, prepares folders and log, runs one command, and turns what it threw into log
 * lines and an exit status.
 *
 * Start-up time is a budget: only parser, log and the door to the kernel are imported here; see programs/ for the rest.
 */

import { AssertionError, CriuError, CriuErrors, errorText, SyscallError } from '../base/errors.ts';
import type { CommandName } from '../options/commands.ts';
import type { CriuOptions } from '../options/criu-options.ts';
import { type CommandLine, parseCommandLine } from '../options/parse-command-line.ts';
import { DUMP_FAILED, DUMP_FINISHED, linesForStderr, RESTORE_FAILED } from './closing-lines.ts';
import type { CommandContext, CommandModule } from './command-context.ts';
import {
  assertInherited,
  assertNoPidfile,
  assertNoPlugins,
  closeDescriptors,
  commandLineWords,
  createLogSink,
  currentDirectory,
  enterWorkDir,
  openImagesDir,
  openLog,
  readConfigFile,
  toByteString,
} from './startup.ts';

/** The last line of a failed dump or restore begins so; callers look for it. */
const FAILED: Partial<Record<CommandName, string>> = { dump: DUMP_FAILED, restore: RESTORE_FAILED };

export const sink = createLogSink();

/** Runs a command; returns the exit status, never throws. */
export async function runCommand(
  command: CommandName,
  line: CommandLine,
  loadModule: (command: CommandName) => CommandModule | Promise<CommandModule>,
): Promise<number> {
  const { options } = line;
  sink.setLevel(options.logLevel);
  let context: CommandContext | undefined;
  try {
    context = prepare(command, line);
    const module = await loadModule(command);
    const status = await module.run(context);
    if (command === 'dump') logEndOfDump(status);
    return status;
  } catch (error) {
    return reportFailure(error, command, options, context !== undefined);
  } finally {
    sink.flush();
  }
}

/** The command line of this process with its configuration files. Throws CriuError when it is wrong. */
export function readCommandLine(): CommandLine {
  const { HOME, CRIU_CONFIG_FILE, CRIU_DEPRECATED, CRIU_LIBS_DIR } = process.env;
  const bytes = (text: string | undefined): string | undefined => (text === undefined ? text : toByteString(text));
  const env = {
    HOME: bytes(HOME),
    CRIU_CONFIG_FILE: bytes(CRIU_CONFIG_FILE),
    CRIU_DEPRECATED,
    CRIU_LIBS_DIR: bytes(CRIU_LIBS_DIR),
  };
  return parseCommandLine(commandLineWords(), env, readConfigFile);
}

/** A post-dump script may end a dump with a status of its own; then the tree runs on and the dump counts as failed. */
function logEndOfDump(status: number): void {
  if (status === 0) sink.logger.info(DUMP_FINISHED);
  else sink.logger.child('dump').error(DUMP_FAILED);
}

/** Everything up to the command, in CRIU's order: folders first, since the log is relative to the work folder. */
function prepare(command: CommandName, line: CommandLine): CommandContext {
  const { options } = line;
  closeDescriptors(options.closeFds, sink.logger);
  const cwd = currentDirectory();
  const imagesDir = openImagesDir(options, cwd);
  const workDir = enterWorkDir(options, imagesDir, cwd);
  openLog(sink, options);
  for (const { level, text } of line.notes) sink.logger[level](text);
  assertNoPidfile(command, options);
  if (command === 'dump' || command === 'restore') assertNoPlugins(options);
  for (const { fd } of options.inheritFds) assertInherited(fd, '--inherit-fd');
  if (options.statusFd !== undefined) assertInherited(options.statusFd, '--status-fd');
  return { options, args: line.args, log: sink.logger.child(command), logFd: sink.fd ?? 2, imagesDir, workDir };
}

/** Runs a program that is one command only; undefined, and nothing is done, when the command line is not for it. */
export async function runOnly(command: CommandName, module: CommandModule): Promise<number | undefined> {
  let line: CommandLine;
  try {
    line = readCommandLine();
  } catch (error) {
    if (error instanceof CriuError) return undefined;
    throw error;
  }
  return line.command === command ? await runCommand(command, line, () => module) : undefined;
}

/**
 * Each failure on a line of its own; the last line says in CRIU's words what failed and repeats the cause. When the log
 * is a file, all of that goes to stderr as well: often nobody will ever see the file.
 */
function reportFailure(error: unknown, command: CommandName, options: CriuOptions, hasBegun: boolean): number {
  openFallback();
  const log = sink.logger.child(command);
  const findings = error instanceof CriuErrors ? error.lines.slice(1) : [];
  for (const line of findings) log.error(line);
  const failed = hasBegun ? FAILED[command] : undefined;
  const last = failed === undefined ? describe(error) : `${failed} ${describe(error)}`;
  log.error(last);
  if (!(error instanceof CriuError) && error instanceof Error && error.stack !== undefined) log.debug(error.stack);
  const isLogHidden = options.logFile !== undefined && options.logFile !== '-' && sink.fd !== 2;
  if (isLogHidden && sink.level > 0) {
    const onStderr = createLogSink();
    onStderr.open(2);
    const said = onStderr.logger.child(command);
    for (const line of linesForStderr(findings, last, options.logFile ?? '')) said.error(line);
  }
  return error instanceof CriuError ? error.exitCode : 1;
}

/** A failure before the log is open goes to stderr, with everything said so far. */
export function openFallback(): void {
  if (sink.fd === undefined) sink.open(2);
}

/** A system call whose failure nobody expected is told as it is; anything else is a mistake of ours, and says so. */
export function describe(error: unknown): string {
  if (error instanceof CriuError || error instanceof AssertionError) return error.message;
  if (error instanceof SyscallError) return `unexpected failure of ${error.message}`;
  return `bug in criu: ${errorText(error)}`;
}
