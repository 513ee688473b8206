/**
 * One run of criu: reads the command line, prepares folders and log, runs one command, and turns what it threw into log
 * lines and an exit status.
 *
 * Start-up time is a budget: only parser, log and the door to the kernel are imported here, commands when they are run.
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

const sink = createLogSink();

/** Returns the exit status; never throws. */
export async function runCriu(): Promise<number> {
  let line: CommandLine;
  try {
    line = parse();
  } catch (error) {
    return await reportMistake(error);
  }
  const { command, options } = line;
  if (command === 'version') return await showVersion();
  if (command === 'help') return await showHelp(line.topic);
  sink.setLevel(options.logLevel);
  let context: CommandContext | undefined;
  try {
    context = prepare(command, line);
    const module = await loadCommand(command);
    const status = await module.run(context);
    if (command === 'dump') logEndOfDump(status);
    return status;
  } catch (error) {
    return reportFailure(error, command, options, context !== undefined);
  } finally {
    sink.flush();
  }
}

function parse(): CommandLine {
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

/** A command is loaded only when it is run. */
async function loadCommand(command: CommandName): Promise<CommandModule> {
  switch (command) {
    case 'dump':
      return await import('./commands/dump.ts');
    case 'restore':
      return await import('./commands/restore.ts');
    case 'check':
      return await import('./commands/check.ts');
    case 'cpuinfo':
      return await import('./commands/cpuinfo.ts');
    case 'exec':
      return await import('./commands/exec.ts');
    case 'crit':
      return await import('./commands/crit.ts');
    case 'show':
      return await import('./commands/show.ts');
    default:
      throw new AssertionError(`the parser lets pass only commands that exist, not ${command}`);
  }
}

async function showVersion(): Promise<number> {
  const { versionText } = await import('./commands/version.ts');
  sink.logger.message(versionText());
  return 0;
}

async function showHelp(topic: CommandName | undefined): Promise<number> {
  const { commandHelp, generalHelp } = await import('./commands/help.ts');
  sink.logger.message(topic === undefined ? generalHelp() : commandHelp(topic));
  return 0;
}

/** A wrong command line: to stderr, and the usage to stdout where CRIU shows it too. */
async function reportMistake(error: unknown): Promise<number> {
  if (error instanceof CriuError && 'showUsage' in error && error.showUsage === true) {
    const { shortUsage } = await import('./commands/help.ts');
    sink.logger.message(shortUsage());
  }
  openFallback();
  sink.logger.error(describe(error));
  return error instanceof CriuError ? error.exitCode : 1;
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
function openFallback(): void {
  if (sink.fd === undefined) sink.open(2);
}

/** A system call whose failure nobody expected is told as it is; anything else is a mistake of ours, and says so. */
function describe(error: unknown): string {
  if (error instanceof CriuError || error instanceof AssertionError) return error.message;
  if (error instanceof SyscallError) return `unexpected failure of ${error.message}`;
  return `bug in criu: ${errorText(error)}`;
}
