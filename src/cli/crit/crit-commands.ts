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
  {
    name: 'verify',
    summary: 'check that a folder of images is whole and consistent',
    details: [
      'Decodes every image strictly and follows what images say about each other: tasks, threads, open files, deleted ' +
        'files, pages of memory, also those in the folders of earlier dumps. One line for each problem.',
      'Exit status: 0 when there are none, else 1.',
    ],
    options: [],
    arguments: [DIR],
    examples: ['crit verify checkpoint'],
    isOurs: true,
  },
  {
    name: 'diff',
    summary: 'show what is different between two folders of images',
    details: [
      'Entries are matched by their numbers, fields are compared by value, memory page by page. Statistics are left out. ' +
        'Made for two dumps of the same tree.',
      'Exit status: 0 when nothing is different, 1 when something is, 2 when it could not be found out.',
    ],
    options: [{ long: 'all', help: 'show every difference, not only the first 20 of each image' }],
    arguments: [
      { name: 'first', help: 'folder with images' },
      { name: 'second', help: 'folder to compare it with' },
    ],
    examples: ['crit diff monday tuesday'],
    isOurs: true,
  },
  {
    name: 'tree',
    summary: 'show tasks, memory and open files of a folder of images as a tree',
    details: [],
    options: [{ long: 'all', help: 'show all mappings and threads, not only the largest and first ones' }],
    arguments: [DIR],
    examples: ['crit tree checkpoint', 'crit tree --all checkpoint | less'],
    isOurs: true,
  },
  {
    name: 'report',
    summary: 'make a page of HTML of a folder of images',
    details: [
      'Process tree, memory to scale, files, sockets, and a time line when there are statistics. The page is one file: it ' +
        'needs nothing from elsewhere and has no scripts.',
    ],
    options: [{ ...OUT, help: 'where to write the page (stdout by default)' }],
    arguments: [DIR],
    examples: ['crit report checkpoint -o report.html'],
    isOurs: true,
  },
];

export function findCritCommand(name: string): CritCommand | undefined {
  return CRIT_COMMANDS.find((command) => command.name === name);
}
