/**
 * One run of crit, the image tool. Nothing of it is loaded by criu's other commands.
 *
 * Options, exit status and JSON are those of CRIU's crit; what it says about mistakes is not.
 */
import { AssertionError, CriuError, CriuErrors, errorText } from '../../base/errors.ts';
import { commandLineWords } from '../startup.ts';
import { VERSION } from '../version.ts';
import { type CritRequest, CritUsageError, parseCritLine } from './crit-arguments.ts';
import { complain, FileSink, FileSource, print, STDOUT } from './descriptors.ts';

/** `isNamed`: the program is called crit, so its words begin with the command. Returns the exit status; never throws. */
export async function runCrit(isNamed: boolean): Promise<number> {
  const words = commandLineWords().slice(isNamed ? 0 : 1);
  try {
    const line = parseCritLine(words);
    if (line.ask === 'version') print(VERSION);
    else if (line.ask === 'help') print((await import('./crit-help.ts')).critHelp(line.command));
    else return await runCommand(line);
    return 0;
  } catch (error) {
    if (error instanceof CritUsageError) {
      const { critUsage } = await import('./crit-help.ts');
      complain(critUsage(error.command));
    }
    return complainOf(error);
  }
}

/** Throws CriuError. */
async function runCommand(request: CritRequest): Promise<number> {
  const { command, args, options } = request;
  const option = (name: string): string | undefined => options.get(name);
  const [first = ''] = args;
  switch (command.name) {
    case 'decode':
      await decode(option('in'), option('out'), options.has('pretty'), false);
      return 0;
    case 'show':
      await decode(first, undefined, true, options.has('nopl'));
      return 0;
    case 'encode':
      await encode(option('in'), option('out'));
      return 0;
    case 'info':
      await info(first);
      return 0;
    case 'x':
      return await (await import('./folder-commands.ts')).exploreFolder(first, args[1]);
    case 'verify':
      return await (await import('./folder-commands.ts')).verifyFolder(first);
    case 'diff':
      return await (await import('./folder-commands.ts')).diffTwoFolders(first, args[1] ?? '', options.has('all'));
    case 'tree':
      return await (await import('./folder-commands.ts')).showTree(first, options.has('all'));
    case 'report':
      return await (await import('./folder-commands.ts')).writeReport(first, option('out'));
    default:
      throw new AssertionError(`the parser lets pass only commands that exist, not ${command.name}`);
  }
}

async function decode(from: string | undefined, to: string | undefined, isPretty: boolean, hasNoPayload: boolean) {
  const { decodeImage } = await import('../../crit/decode-image.ts');
  using source = new FileSource(from);
  const sink = new FileSink(to ?? STDOUT);
  decodeImage(source, source.name, sink, { isPretty, hasNoPayload, endsWithNewline: to === undefined });
  sink.finish();
}

async function encode(from: string | undefined, to: string | undefined): Promise<void> {
  const { encodeImage } = await import('../../crit/encode-image.ts');
  using source = new FileSource(from);
  const sink = new FileSink(to ?? STDOUT);
  encodeImage(source, source.name, sink, { warn: (text) => complain(`Warn: ${text}`) });
  sink.finish();
}

async function info(from: string): Promise<void> {
  const { readImageInfo } = await import('../../crit/decode-image.ts');
  using source = new FileSource(from);
  const { magic, count } = readImageInfo(source, source.name);
  print(`{\n    "magic": "${magic}",\n    "count": ${count}\n}`);
}

function complainOf(error: unknown): number {
  const lines = error instanceof CriuErrors ? error.lines : [describe(error)];
  for (const line of lines) complain(`crit: error: ${line}`);
  return error instanceof CriuError ? error.exitCode : 1;
}

function describe(error: unknown): string {
  if (error instanceof CriuError || error instanceof AssertionError) return error.message;
  return `bug in crit: ${errorText(error)}`;
}
