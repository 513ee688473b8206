/** The commands of crit: what its parser and its help know about them. */
import { EXPLORATIONS } from '../../crit/explore.ts';

export interface CritOption {
  readonly long: string;
  readonly short?: string;
  /** Name of its value in the help; undefined when it takes none. */
  readonly metavar?: string;
  readonly help: string;
}

export interface CritArgument {
  readonly name: string;
  readonly help: string;
  readonly choices?: readonly string[];
}

export interface CritCommand {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  /** What else one should know, as paragraphs. */
  readonly details: readonly string[];
  readonly options: readonly CritOption[];
  readonly arguments: readonly CritArgument[];
  readonly examples: readonly string[];
  /** Not one of CRIU's crit. */
  readonly isOurs?: true;
}

const IN = { long: 'in', short: 'i', metavar: 'IN' } as const;
const OUT = { long: 'out', short: 'o', metavar: 'OUT' } as const;
const DIR: CritArgument = { name: 'dir', help: 'folder with the images of a dump' };

export const CRIT_COMMANDS: readonly CritCommand[] = [
  {
    name: 'decode',
    summary: 'convert an image to JSON',
    details: [
      'The JSON has the magic of the image and its entries; bytes that follow an entry are its "extra", in base64. ' +
        'encode makes the same bytes of it again.',
    ],
    options: [
      { long: 'pretty', help: 'several lines, and addresses, flags, device numbers and the like in readable form' },
      { ...IN, help: 'image to read (stdin by default)' },
      { ...OUT, help: 'where to write the JSON (stdout by default)' },
    ],
    arguments: [],
    examples: ['crit decode -i pstree.img --pretty', 'crit decode -i files.img | jq ".entries[].reg.name"'],
  },
  {
    name: 'encode',
    summary: 'convert JSON to an image',
    details: ['Reads what decode writes, pretty or not. Keys that are no fields are left out, with a warning.'],
    options: [
      { ...IN, help: 'JSON to read (stdin by default)' },
      { ...OUT, help: 'where to write the image (stdout by default)' },
    ],
    arguments: [],
    examples: ['crit encode -i pstree.json -o pstree.img'],
  },
  {
    name: 'info',
    summary: 'show kind and number of entries of an image',
    details: [],
    options: [],
    arguments: [{ name: 'in', help: 'image to read' }],
    examples: ['crit info files.img'],
  },
  {
    name: 'x',
    summary: 'explore a folder of images, line by line',
    details: [
      'ps lists the tasks, fds their open files, mems their mappings, rss the pages that were saved. ' +
        'The lines are for scripts; tree and report show the same for people.',
    ],
    options: [],
    arguments: [DIR, { name: 'what', help: 'what to list', choices: EXPLORATIONS }],
    examples: ['crit x checkpoint ps', 'crit x checkpoint mems'],
  },
  {
    name: 'show',
    summary: 'convert an image to readable JSON',
    details: ['The same as decode --pretty, for stdout.'],
    options: [{ long: 'nopl', help: 'show only the size of the data that follow an entry' }],
    arguments: [{ name: 'in', help: 'image to read' }],
    examples: ['crit show core-1234.img', 'crit show --nopl pipes-data.img'],
  },
];

export function findCritCommand(name: string): CritCommand | undefined {
  return CRIT_COMMANDS.find((command) => command.name === name);
}
