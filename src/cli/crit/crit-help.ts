/** `crit --help` and `crit COMMAND --help`, made from the table of commands. */
import { wrap } from '../commands/help.ts';
import { CRIT_COMMANDS, type CritCommand, type CritOption } from './crit-commands.ts';

const WIDTH = 96;
const COLUMN = 20;

export function critHelp(command: CritCommand | undefined): string {
  return command === undefined ? generalHelp() : commandHelp(command);
}

/** The first line of everything that is said about a mistake. */
export function critUsage(command: CritCommand | undefined): string {
  if (command === undefined)
    return `usage: crit [-h] [--version] {${CRIT_COMMANDS.map(({ name }) => name).join(',')}} ...`;
  const options = command.options.map((option) => `[${spelling(option)}]`);
  const args = command.arguments.map(({ name, choices }) => (choices === undefined ? name : `{${choices.join(',')}}`));
  return ['usage: crit', command.name, '[-h]', ...options, ...args].join(' ');
}

function generalHelp(): string {
  const lines = [critUsage(undefined), '', 'Shows and edits images of criu.', ''];
  lines.push(...list('Commands:', CRIT_COMMANDS.filter(({ isOurs }) => isOurs !== true).map(row)));
  const ours = CRIT_COMMANDS.filter(({ isOurs }) => isOurs === true).map(row);
  if (ours.length > 0) lines.push(...list('Commands that the crit of CRIU does not have:', ours));
  const options: Row[] = [
    ['-h, --help', 'show this, or after a command its own help'],
    ['--version', 'show the version'],
  ];
  lines.push(...list('Options:', options));
  lines.push('The program is called crit when its file or a link to it has that name; "criu crit" is the same.');
  lines.push('Exit status: 0, 1 when it could not be done, 2 when the command line is wrong.');
  return lines.join('\n');
}

function commandHelp(command: CritCommand): string {
  const lines = [critUsage(command), '', `${sentence(command.summary)}.`, ''];
  for (const paragraph of command.details) lines.push(...wrap(paragraph, WIDTH), '');
  const args = command.arguments.map(({ name, help, choices }): Row => {
    return [name, choices === undefined ? help : `${help}: ${choices.join(', ')}`];
  });
  if (args.length > 0) lines.push(...list('Arguments:', args));
  const options = command.options.map((option): Row => [spelling(option, ', '), option.help]);
  lines.push(...list('Options:', [...options, ['-h, --help', 'show this']]));
  if (command.examples.length > 0) lines.push('Examples:', ...command.examples.map((example) => `  ${example}`), '');
  return lines.slice(0, -1).join('\n');
}

type Row = readonly [name: string, text: string];

function row({ name, summary }: CritCommand): Row {
  return [name, summary];
}

function list(title: string, rows: readonly Row[]): string[] {
  const lines = [title];
  for (const [name, text] of rows) {
    const [first = '', ...more] = wrap(text, WIDTH - COLUMN);
    lines.push(`${`  ${name}`.padEnd(COLUMN - 1)} ${first}`, ...more.map((line) => ' '.repeat(COLUMN) + line));
  }
  return [...lines, ''];
}

/** "-i IN" for the usage, "-i, --in IN" for the list. */
function spelling({ long, short, metavar }: CritOption, both?: string): string {
  const value = metavar === undefined ? '' : ` ${metavar}`;
  if (short === undefined) return `--${long}${value}`;
  return both === undefined ? `-${short}${value}` : `-${short}${both}--${long}${value}`;
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
