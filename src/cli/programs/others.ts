/**
 * The program for everything: all commands, which are loaded when they are run, help, and what is said to a wrong command
 * line.
 */
import { AssertionError, CriuError } from '../../base/errors.ts';
import type { CommandName } from '../../options/commands.ts';
import type { CommandLine } from '../../options/parse-command-line.ts';
import type { CommandModule } from '../command-context.ts';
import { describeFailure } from '../outcome.ts';
import { openFallback, readCommandLine, runCommand, sink } from '../run-criu.ts';

/** The exit status; never throws. */
export async function run(): Promise<number> {
  let line: CommandLine;
  try {
    line = readCommandLine();
  } catch (error) {
    return await reportMistake(error);
  }
  if (line.command === 'version') return await showVersion();
  if (line.command === 'help') return await showHelp(line.topic);
  return await runCommand(line.command, line, loadCommand);
}

/** A command is loaded only when it is run. */
const COMMANDS: Partial<Record<CommandName, () => Promise<CommandModule>>> = {
  dump: () => import('../commands/dump.ts'),
  restore: () => import('../commands/restore.ts'),
  check: () => import('../commands/check.ts'),
  cpuinfo: () => import('../commands/cpuinfo.ts'),
  exec: () => import('../commands/exec.ts'),
  crit: () => import('../commands/crit.ts'),
  show: () => import('../commands/show.ts'),
  service: () => import('../commands/service.ts'),
  swrk: () => import('../commands/swrk.ts'),
};
const loadHelp = () => import('../commands/help.ts');

async function loadCommand(command: CommandName): Promise<CommandModule> {
  const load = COMMANDS[command];
  if (load === undefined) throw new AssertionError(`the parser lets pass only commands that exist, not ${command}`);
  return await load();
}

/** For a start image: all that would be loaded later. */
export async function loadAll(): Promise<void> {
  for (const load of [...Object.values(COMMANDS), loadHelp]) await load();
}

async function showVersion(): Promise<number> {
  const { versionText } = await import('../commands/version.ts');
  sink().logger.message(versionText());
  return 0;
}

async function showHelp(topic: CommandName | undefined): Promise<number> {
  const { commandHelp, generalHelp } = await loadHelp();
  sink().logger.message(topic === undefined ? generalHelp() : commandHelp(topic));
  return 0;
}

/** A wrong command line: to stderr, and the usage to stdout where CRIU shows it too. */
async function reportMistake(error: unknown): Promise<number> {
  if (error instanceof CriuError && 'showUsage' in error && error.showUsage === true) {
    const { shortUsage } = await loadHelp();
    sink().logger.message(shortUsage());
  }
  openFallback();
  sink().logger.error(describeFailure(error));
  return error instanceof CriuError ? error.exitCode : 1;
}
