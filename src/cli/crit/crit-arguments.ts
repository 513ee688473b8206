/** From the words after `crit` to one command with its options. Options may stand anywhere after the command. */
import { CriuError } from '../../base/errors.ts';
import { parseGetopt } from '../../options/getopt.ts';
import { CRIT_COMMANDS, type CritCommand, findCritCommand } from './crit-commands.ts';

export interface CritRequest {
  readonly command: CritCommand;
  /** Long option to its value; '' for one without. */
  readonly options: ReadonlyMap<string, string>;
  /** As many as the command has arguments. */
  readonly args: readonly string[];
}

export type CritLine =
  | { readonly ask: 'help'; readonly command: CritCommand | undefined }
  | { readonly ask: 'version' }
  | ({ readonly ask: 'command' } & CritRequest);

/** A mistake in the command line. Exit status 2, as of all programs that use Python's argparse; 1 without any words. */
export class CritUsageError extends CriuError {
  readonly command: CritCommand | undefined;

  constructor(action: string, command: CritCommand | undefined, exitCode = 2) {
    super({ action, exitCode });
    this.command = command;
  }
}

/** Throws CritUsageError. */
export function parseCritLine(words: readonly string[]): CritLine {
  const [first, ...rest] = words;
  if (first === undefined) throw new CritUsageError('too few arguments', undefined, 1);
  if (first === '-h' || isPrefix(first, '--help')) return { ask: 'help', command: undefined };
  if (isPrefix(first, '--version')) return { ask: 'version' };
  if (first.startsWith('-')) throw new CritUsageError(`unrecognized arguments: ${first}`, undefined);
  const command = findCritCommand(first);
  if (command === undefined) {
    const names = CRIT_COMMANDS.map(({ name }) => `'${name}'`).join(', ');
    throw new CritUsageError(`invalid choice: '${first}' (choose from ${names})`, undefined);
  }
  return parseCommand(command, rest);
}

/** Long options may be shortened. */
function isPrefix(word: string, option: string): boolean {
  return word.length > 2 && option.startsWith(word);
}

function parseCommand(command: CritCommand, words: readonly string[]): CritLine {
  const specs = [{ long: 'help', short: 'h', metavar: undefined }, ...command.options];
  const kindOf = (metavar: string | undefined) => (metavar === undefined ? 'none' : 'required');
  const { given, rest, error } = parseGetopt(words, {
    long: specs.map(({ long, metavar }) => ({ name: long, argument: kindOf(metavar), id: long })),
    short: specs.flatMap(({ long, short, metavar }) =>
      short === undefined ? [] : [{ name: short, argument: kindOf(metavar), id: long }],
    ),
  });
  if (given.some(({ id }) => id === 'help')) return { ask: 'help', command };
  if (error !== undefined) throw new CritUsageError(error, command);
  const wanted = command.arguments;
  if (rest.length < wanted.length) {
    const missing = wanted.slice(rest.length).map(({ name }) => name);
    throw new CritUsageError(`the following arguments are required: ${missing.join(', ')}`, command);
  }
  if (rest.length > wanted.length) {
    throw new CritUsageError(`unrecognized arguments: ${rest.slice(wanted.length).join(' ')}`, command);
  }
  for (const [index, { name, choices }] of wanted.entries()) {
    const word = rest[index] ?? '';
    if (choices === undefined || choices.includes(word)) continue;
    const list = choices.map((choice) => `'${choice}'`).join(', ');
    throw new CritUsageError(`argument ${name}: invalid choice: '${word}' (choose from ${list})`, command);
  }
  return { ask: 'command', command, options: new Map(given.map(({ id, value }) => [id, value ?? ''])), args: rest };
}
