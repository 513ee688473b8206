/** `criu --help` and `criu COMMAND --help`, made from the option table. */

import { COMMANDS, type CommandName } from '../../options/commands.ts';
import type { OptionGroup, OptionSpec } from '../../options/option-spec.ts';
import { OPTION_TABLE } from '../../options/option-table.ts';

/** Terminals are wider, but text is easier to read so. */
const WIDTH = 96;
const HELP_COLUMN = 30;

/** Order and titles of the groups. */
export const GROUP_TITLES: readonly (readonly [OptionGroup, string])[] = [
  ['general', 'General'],
  ['tree', 'The tree of tasks'],
  ['files', 'Files'],
  ['external', 'What is outside the tree'],
  ['namespaces', 'Namespaces, mounts and security'],
  ['network', 'Network'],
  ['cgroups', 'Cgroups'],
  ['memory', 'Memory'],
  ['page server', 'Page server and service'],
  ['check', 'Check'],
  ['logging', 'Logging'],
  ['configuration', 'Configuration files'],
];

/** Commands only: shown after a mistake in the command line. */
export function usage(): string {
  const lines = ['', 'Usage:'];
  for (const { usage: text } of COMMANDS) if (text !== undefined) lines.push(`  criu ${text}`);
  lines.push('', 'Commands:');
  for (const { name, usage: text, summary, capability } of COMMANDS) {
    if (text !== undefined) lines.push(`  ${name.padEnd(13)} ${summary}${capability === 'later' ? ' (not yet)' : ''}`);
  }
  return lines.join('\n');
}

/** After a mistake. */
export function shortUsage(): string {
  return `${usage()}\n\nTry -h|--help for more info`;
}

export function generalHelp(): string {
  const intro =
    'Options may be shortened as long as they are unambiguous, and stand anywhere. Most options without a value ' +
    'have a twin --no-OPTION that takes them back. "criu COMMAND --help" shows only what concerns COMMAND.';
  return `${usage()}\n\n${wrap(intro, WIDTH).join('\n')}\n${optionHelp(() => true)}`;
}

export function commandHelp(name: CommandName): string {
  const command = COMMANDS.find((candidate) => candidate.name === name);
  const summary = command?.summary ?? '';
  const head = `\nUsage:\n  criu ${command?.usage ?? name}\n\n${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
  return `${head}\n${exampleHelp(command?.examples ?? [])}${optionHelp((spec) => spec.commands === 'all' || spec.commands.includes(name))}`;
}

function exampleHelp(examples: readonly (readonly [line: string, what: string])[]): string {
  if (examples.length === 0) return '';
  const width = Math.max(...examples.map(([line]) => line.length));
  return ['', 'Examples:', ...examples.map(([line, what]) => `  ${line.padEnd(width)}   ${what}`), ''].join('\n');
}

function optionHelp(isShown: (spec: OptionSpec) => boolean): string {
  const lines: string[] = [];
  for (const [group, title] of GROUP_TITLES) {
    const specs = OPTION_TABLE.filter((spec) => spec.group === group && !spec.isOld && isShown(spec));
    if (specs.length > 0) lines.push('', `${title}:`, ...specs.flatMap(describeOption));
  }
  return lines.join('\n');
}

function describeOption(spec: OptionSpec): string[] {
  const name = `  ${spec.short === undefined ? '   ' : `-${spec.short},`} ${longWithValue(spec)}`;
  const text = wrap(spec.capability === 'later' ? `${spec.help} (Not yet.)` : spec.help, WIDTH - HELP_COLUMN);
  const indent = ' '.repeat(HELP_COLUMN);
  const [first = '', ...more] = text;
  const head = name.length < HELP_COLUMN ? [name.padEnd(HELP_COLUMN) + first] : [name, indent + first];
  return [...head, ...more.map((line) => indent + line)];
}

/** "--tree PID", "--cpu-cap[=LIST]", "--shell-job". */
export function longWithValue({ long, argument, metavar }: OptionSpec): string {
  if (argument === 'required') return `--${long} ${metavar}`;
  if (argument === 'optional') return `--${long}[=${metavar}]`;
  return `--${long}`;
}

/** Breaks at blanks; a longer word gets a line of its own. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return line === '' ? lines : [...lines, line];
}
