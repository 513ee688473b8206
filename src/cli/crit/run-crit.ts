/**
 * One run of crit, the image tool. Nothing of it is loaded by criu's other commands.
 *
 * Options, exit status and JSON are those of CRIU's crit; what it says about mistakes is not.
 */
import { AssertionError, CriuError, CriuErrors, errorText } from '../../base/errors.ts';
import { ImageDir } from '../../image/image-dir.ts';
import { BytesReader } from '../../image/image-reader.ts';
import { commandLineWords } from '../startup.ts';
import { VERSION } from '../version.ts';
import { type CritRequest, CritUsageError, parseCritLine } from './crit-arguments.ts';
import { FileSink, FileSource, printable } from './descriptors.ts';

const STDOUT = 1;
const STDERR = 2;

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
  const { command, args } = request;
  const option = (name: string): string | undefined => request.options.get(name);
  const [first = ''] = args;
  switch (command.name) {
    case 'decode':
      await decode(option('in'), option('out'), request.options.has('pretty'), false);
      return 0;
    case 'show':
      await decode(first, undefined, true, request.options.has('nopl'));
      return 0;
    case 'encode':
      await encode(option('in'), option('out'));
      return 0;
    case 'info':
      await info(first);
      return 0;
    case 'x': {
      const { explore, EXPLORATIONS } = await import('../../crit/explore.ts');
      const what = EXPLORATIONS.find((name) => name === args[1]) ?? 'ps';
      print(explore(folderReader(first), what).join('\n'));
      return 0;
    }
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

function folderReader(path: string): BytesReader {
  const folder = ImageDir.open(path);
  return new BytesReader((name) => folder.tryReadBytes(name));
}

/** A text for stdout, as a byte string. */
function print(text: string): void {
  const sink = new FileSink(STDOUT);
  sink.text(`${printable(text)}\n`);
  sink.finish();
}

function complain(text: string): void {
  const sink = new FileSink(STDERR);
  sink.text(`${printable(text)}\n`);
  sink.finish();
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
