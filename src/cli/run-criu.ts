/**
 * One run of criu: reads the command line, prepares folders and log, runs one command, and turns what it threw into log
 * lines and an exit status.
 *
 * Start-up time is a budget: only parser, log and the door to the kernel are imported here; see programs/ for the rest.
 */

import { CriuError } from '../base/errors.ts';
import { perRun } from '../base/per-run.ts';
import { markStart } from '../linux/clock.ts';
import { close } from '../linux/syscalls/fs.ts';
import type { CommandName } from '../options/commands.ts';
import type { CriuOptions } from '../options/criu-options.ts';
import { type CommandLine, parseCommandLine } from '../options/parse-command-line.ts';
import { linesForStderr } from './closing-lines.ts';
import type { CommandContext, CommandModule } from './command-context.ts';
import { findingsOf, logEndOfDump, logFailure } from './outcome.ts';
import { commandLineWords, createLogSink, prepare, readConfigFile, readEnvironment } from './startup.ts';

/** The log of this run. */
export const sink = perRun(createLogSink, (made) => {
  const fd = made.detach();
  // Standard output and error belong to the process.
  if (fd !== undefined && fd > 2) close(fd);
});

/** Runs a command; returns the exit status, never throws. */
export async function runCommand(
  command: CommandName,
  line: CommandLine,
  loadModule: (command: CommandName) => CommandModule | Promise<CommandModule>,
): Promise<number> {
  const { options } = line;
  sink().setLevel(options.logLevel);
  let context: CommandContext | undefined;
  try {
    context = prepare(sink(), command, line);
    const module = await loadModule(command);
    const status = await module.run(context);
    if (command === 'dump') logEndOfDump(sink().logger, status);
    return status;
  } catch (error) {
    return reportFailure(error, command, options, context !== undefined);
  } finally {
    sink().flush();
  }
}

/** The command line of this process with its configuration files. Throws CriuError when it is wrong. */
export function readCommandLine(): CommandLine {
  markStart();
  return parseCommandLine(commandLineWords(), readEnvironment(), readConfigFile);
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
 * When the log is a file, the findings and the last line go to stderr as well: often nobody will ever see the file.
 */
function reportFailure(error: unknown, command: CommandName, options: CriuOptions, hasBegun: boolean): number {
  openFallback();
  const last = logFailure(sink().logger.child(command), command, error, hasBegun);
  const isLogHidden = options.logFile !== undefined && options.logFile !== '-' && sink().fd !== 2;
  if (isLogHidden && sink().level > 0) {
    const onStderr = createLogSink();
    onStderr.open(2);
    const said = onStderr.logger.child(command);
    for (const line of linesForStderr(findingsOf(error), last, options.logFile ?? '')) said.error(line);
  }
  return error instanceof CriuError ? error.exitCode : 1;
}

/** A failure before the log is open goes to stderr, with everything said so far. */
export function openFallback(): void {
  if (sink().fd === undefined) sink().open(2);
}
