/** Writes docs/crit.1 from the table of crit's commands; generate-man.ts does it together with docs/criu.8. */
import { resolve } from 'node:path';
import { CRIT_COMMANDS, type CritCommand, type CritOption } from '../src/cli/crit/crit-commands.ts';
import { GIT_ID, VERSION } from '../src/cli/version.ts';
import { code, fill, paragraph, roff, section, tagged } from './roff.ts';

export const CRIT_MAN_PAGE = resolve(import.meta.dir, '../docs/crit.1');

/** The whole page, in roff. */
export function generateCritMan(): string {
  const lines = [
    `.\\" Written by tools/generate-man.ts from the table of commands. Do not edit.`,
    `.TH CRIT 1 "" "criu ${VERSION} (${GIT_ID})" "User Commands"`,
    ...section('NAME', paragraph('crit - show and edit images of criu')),
    ...section('SYNOPSIS', ['.nf', ...CRIT_COMMANDS.map((command) => `.B ${roff(usage(command))}`), '.fi']),
    ...section('DESCRIPTION', DESCRIPTION.flatMap(paragraph)),
    ...section('COMMANDS', CRIT_COMMANDS.flatMap(describeCommand)),
    ...section('JSON', JSON_TEXT.flatMap(paragraph)),
    ...section('DIFFERENCES', DIFFERENCES.flatMap(paragraph)),
    ...section('EXIT STATUS', tagged(EXIT_STATUS)),
    ...section('EXAMPLES', CRIT_COMMANDS.flatMap(({ examples }) => examples).flatMap(code)),
    ...section('SEE ALSO', ['.BR criu (8)']),
  ];
  return `${lines.join('\n')}\n`;
}

const DESCRIPTION = [
  'crit reads the files that criu dump writes. It needs neither root nor the kernel on which they were made.',
  'The program is criu under another name: it is crit when its file, or a link to it, is called so. "criu crit" is the same.',
  'Commands, options, JSON and exit statuses are those of the crit of CRIU; verify, diff, tree and report are more.',
];

const JSON_TEXT = [
  'An image becomes an object with its "magic", the name of its kind, and the list of its "entries". Fields have the names ' +
    'of the schemas (proto/ in the sources) and stand in the order of their numbers; those that are not set are left out. ' +
    'Enums are words, bytes are base64 in lines of 76 characters, names of UNIX sockets quoted-printable.',
  'Data that follow an entry are its "extra": base64, for TCP streams an object with "inq" and "outq", for semaphores ' +
    'their values, for message queues in turns a message and its text.',
  'With --pretty some numbers are texts: hexadecimal, flags by name, device numbers as "major:minor", IP addresses, ' +
    'families and states of sockets. encode reads both forms.',
  'Images may be bigger than memory: entries are written as they are read.',
];

const DIFFERENCES = [
  'For images that the crit of CRIU can decode the JSON is the same, to the byte, unless an image has fields from number ' +
    '20000 on (docs/image-extensions.md), whose names end in "_ext". CRIU\'s crit loses these; here they survive decode and encode.',
  'Fields that are not known at all are kept as "unknown_fields". Images of version 1, without the common magic, have ' +
    '"img_version": 1, so that encode writes them as they were. Texts that are not UTF-8 keep their bytes as lone surrogates.',
  "All kinds of images are decoded, also those for which CRIU's crit has no handler and what ip has saved of addresses, routes and rules; info counts entries with data right. " +
    'encode refuses data that are not as long as their entry says, and warns of keys that are no fields.',
  "x shows dead tasks without files and memory, where CRIU's crit ends with an error.",
];

const EXIT_STATUS: readonly (readonly [string, string])[] = [
  ['0', 'Done. For verify: there are no problems; for diff: there are no differences.'],
  [
    '1',
    'It could not be done, and the message says why. For verify: there are problems; for diff: there are differences.',
  ],
  ['2', 'The command line is wrong. For diff also: it could not be found out.'],
];

function usage({ name, options, arguments: args }: CritCommand): string {
  const optional = options.map((option) => `[${spelling(option)}]`);
  const words = args.map(({ name: word, choices }) => choices?.join('|') ?? word.toUpperCase());
  return ['crit', name, ...optional, ...words].join(' ');
}

function spelling({ long, short, metavar }: CritOption): string {
  return `${short === undefined ? `--${long}` : `-${short}`}${metavar === undefined ? '' : ` ${metavar}`}`;
}

function describeCommand(command: CritCommand): string[] {
  const { summary, details, options } = command;
  const sentence = `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
  const head = ['.TP', `.B ${roff(usage(command))}`, ...fill([sentence, ...details].join(' '))];
  const list = options.flatMap((option) => {
    const names =
      option.short === undefined ? spelling(option) : `${spelling(option)}, --${option.long} ${option.metavar ?? ''}`;
    return ['.TP', `.B ${roff(names.trimEnd())}`, ...fill(option.help)];
  });
  return list.length === 0 ? head : [...head, '.RS', ...list, '.RE'];
}
