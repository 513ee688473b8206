/**
 * One run of criu: reads the command line, prepares folders and log, runs one command, and turns what it threw into log
 * lines and an exit status.
 *
 * Start-up time is a budget: only parser, log and the door to the kernel are imported here, commands when they are run.
 */

import { AssertionError, CriuError } from '../base/errors.ts';
import type { CommandName } from '../options/commands.ts';
import type { CriuOptions } from '../options/criu-options.ts';
import { type CommandLine, parseCommandLine } from '../options/parse-command-line.ts';
import { linesForStderr } from './closing-lines.ts';
import type { CommandContext, CommandModule } from './command-context.ts';
import { describeFailure, findingsOf, logEndOfDump, logFailure } from './outcome.ts';
import { commandLineWords, createLogSink, prepare, readConfigFile, readEnvironment } from './startup.ts';

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
    context = prepare(sink, command, line);
    const module = await loadCommand(command);
    const status = await module.run(context);
    if (command === 'dump') logEndOfDump(sink.logger, status);
    return status;
  } catch (error) {
    return reportFailure(error, command, options, context !== undefined);
  } finally {
    sink.flush();
  }
}

function parse(): CommandLine {
  return parseCommandLine(commandLineWords(), readEnvironment(), readConfigFile);
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
    case 'service':
      return await import('./commands/service.ts');
    case 'swrk':
      return await import('./commands/swrk.ts');
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
  sink.logger.error(describeFailure(error));
  return error instanceof CriuError ? error.exitCode : 1;
}

/**
 * When the log is a file, the findings and the last line go to stderr as well: often nobody will ever see the file.
 */
function reportFailure(error: unknown, command: CommandName, options: CriuOptions, hasBegun: boolean): number {
  openFallback();
  const last = logFailure(sink.logger.child(command), command, error, hasBegun);
  const isLogHidden = options.logFile !== undefined && options.logFile !== '-' && sink.fd !== 2;
  if (isLogHidden && sink.level > 0) {
    const onStderr = createLogSink();
    onStderr.open(2);
    const said = onStderr.logger.child(command);
    for (const line of linesForStderr(findingsOf(error), last, options.logFile ?? '')) said.error(line);
  }
  return error instanceof CriuError ? error.exitCode : 1;
}

/** A failure before the log is open goes to stderr, with everything said so far. */
function openFallback(): void {
  if (sink.fd === undefined) sink.open(2);
}
