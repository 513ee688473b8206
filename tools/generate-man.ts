/**
 * Writes docs/criu.8 from the tables of commands and options, so that manual, help and parser say the same.
 *
 * Run `bun tools/generate-man.ts` after a change of the tables; a test fails until then.
 */

import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { GROUP_TITLES, longWithValue } from '../src/cli/commands/help.ts';
import { GIT_ID, VERSION } from '../src/cli/version.ts';
import { COMMANDS, type CommandName } from '../src/options/commands.ts';
import { FEATURE_NAMES } from '../src/options/feature-names.ts';
import type { OptionSpec } from '../src/options/option-spec.ts';
import { OPTION_TABLE } from '../src/options/option-table.ts';
import { CRIT_MAN_PAGE, generateCritMan } from './generate-crit-man.ts';
import { code, fill, paragraph, roff, section, tagged } from './roff.ts';

export const MAN_PAGE = resolve(import.meta.dir, '../docs/criu.8');

/** The whole page, in roff (man 7 man). */
export function generateMan(): string {
  const lines = [
    `.\\" Written by tools/generate-man.ts from the option table. Do not edit.`,
    `.TH CRIU 8 "" "criu ${VERSION} (${GIT_ID})" "System Administration"`,
    ...section('NAME', paragraph('criu - checkpoint and restore of process trees in user space')),
    ...section('SYNOPSIS', ['.nf', ...usageLines(), '.fi']),
    ...section('DESCRIPTION', DESCRIPTION.flatMap(paragraph)),
    ...section('COMMANDS', COMMANDS.flatMap(describeCommand)),
    ...section('OPTIONS', optionLines()),
    ...section('ACTION SCRIPTS', actionScriptLines()),
    ...section('CONFIGURATION FILES', configurationLines()),
    ...section('ENVIRONMENT', tagged(ENVIRONMENT)),
    ...section('EXIT STATUS', tagged(EXIT_STATUS)),
    ...section('FILES', tagged(FILES)),
    ...section('SECURITY', SECURITY.flatMap(paragraph)),
    ...section(
      'EXAMPLES',
      EXAMPLES.flatMap(([text, command]) => [...paragraph(text), ...code(command)]),
    ),
    ...section('SEE ALSO', [
      '.BR crit (1),',
      '.BR ptrace (2),',
      '.BR namespaces (7),',
      '.BR proc (5),',
      '.BR userfaultfd (2)',
    ]),
  ];
  return `${lines.join('\n')}\n`;
}

const DESCRIPTION = [
  'criu saves running programs to files (images) and makes them again from these files, later or on another machine: ' +
    'with the same process ids, memory, open files and whatever else the kernel keeps for them. The programs need not ' +
    'know about it.',
  'Images, options, log lines and exit statuses are those of CRIU, so that callers of one can use the other. What this ' +
    'release does not do yet is refused by name before anything is touched, and marked "Not yet" below.',
  'Options may stand anywhere and be shortened as long as they are unambiguous. A value follows as the next word or ' +
    'after "="; an optional value only after "=", or stuck to a short option. "--" ends the options. Where an option ' +
    'without a value has a twin --no-OPTION, the last one counts.',
];

const COMMAND_DETAILS: Partial<Record<CommandName, readonly string[]>> = {
  dump: [
    'The tasks are stopped, looked at and written to the images folder; then they are killed, or left running or ' +
      'stopped as --leave-running and --leave-stopped say. A dump that fails leaves them running as before.',
  ],
  restore: [
    'Everything that can be refused is refused before the first process is made. A restore that fails leaves no ' +
      'process behind. The pids of the tree must be free.',
  ],
  check: [
    'Prints "Looks good." and succeeds when nothing is missing. With --extra, --experimental and --all more is looked ' +
      'at; with --feature only one thing.',
  ],
  cpuinfo: ['"dump" writes cpuinfo.img, "check" compares the CPU with that image.'],
  exec: [
    'SYSCALL is a name or a number. An argument is a number, &TEXT for the address of a string, or @SIZE for the ' +
      'address of zeroed bytes that are shown after the call. A call that blocks holds the task as long. Without task ' +
      'and call it fails and points to Compel.',
  ],
  show: ['Fails and points to crit.'],
};

const HOOKS: readonly (readonly [string, string])[] = [
  ['pre-dump', 'before a dump begins'],
  [
    'post-dump',
    'the images are complete; a script that fails lets the tree run on, and its status becomes that of criu',
  ],
  ['pre-restore', 'before a restore begins'],
  ['setup-namespaces', 'the root task stands in its new namespaces, which are still empty'],
  ['post-setup-namespaces', 'the namespaces are filled'],
  ['post-restore', 'everything is restored; nothing runs yet'],
  ['pre-resume', 'the tasks are about to run; this one must not fail'],
  ['post-resume', 'the tasks run'],
  ['network-lock', 'packets for the tree must be held off from now on'],
  ['network-unlock', 'packets may pass again'],
];

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['CRIU_CONFIG_FILE', 'One more configuration file, read after the default ones.'],
  ['CRIU_DEPRECATED', 'When set, the same as --deprecated.'],
  ['CRIU_LIBS_DIR', 'The same as --libdir, which wins.'],
  ['CRIU_PLAIN_START', 'When set, criu does not start from the image of its own memory; some milliseconds slower.'],
  ['HOME', 'Where .criu/default.conf is looked for.'],
];

const EXIT_STATUS: readonly (readonly [string, string])[] = [
  ['0', 'It worked.'],
  [
    '1',
    'It did not. The last line on stderr, and of the log, says what was wrong, why it matters and what can be done.',
  ],
  ['255', 'The commands exec and show, which exist no more.'],
  ['other', 'The status of a post-dump script that failed: 128 + N after signal N, 127 when it could not be started.'],
];

const FILES: readonly (readonly [string, string])[] = [
  ['/etc/criu/default.conf, ~/.criu/default.conf', 'Default configuration files.'],
  ['DIR/*.img', 'The images. They hold the memory of the programs, passwords included: keep them from others.'],
  ['stats-dump, stats-restore', 'Times and numbers of pages of the last operation, in the work folder.'],
];

const SECURITY = [
  'Restoring images means running what is in them, with the identities that are in them. Restore only images that ' +
    'nobody else could have changed.',
  'The executable holds a JavaScript runtime. It takes no orders from the folder it is started in, but like other ' +
    'runtimes it obeys some variables of its environment (BUN_OPTIONS, for one) when it starts without its image, as CRIU_PLAIN_START makes it. Do not give it the set-user-ID bit or ' +
    'file capabilities; start it through a program that cleans the environment, as sudo does.',
];

const EXAMPLES: readonly (readonly [string, string])[] = [
  [
    'Save the tree below process 1234 in the folder checkpoint, which must exist, and end it:',
    'criu dump -D checkpoint -t 1234',
  ],
  ['Make it again, without waiting for its end:', 'criu restore -d -D checkpoint'],
  [
    'Save a program that was started from a terminal, let it run on, and keep a detailed log:',
    'criu dump -D checkpoint -t 1234 --shell-job --leave-running -v4 -o dump.log',
  ],
  ['Ask whether this kernel will do:', 'criu check --all'],
];

function usageLines(): string[] {
  const lines = COMMANDS.flatMap(({ usage }) => (usage === undefined ? [] : [`criu ${usage}`]));
  return [...lines, 'criu --help', 'criu --version'].map((line) => `.B ${roff(line)}`);
}

function describeCommand({ name, usage, summary, capability }: (typeof COMMANDS)[number]): string[] {
  const sentence = `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.${capability === 'later' ? ' Not yet.' : ''}`;
  const details = COMMAND_DETAILS[name] ?? [];
  return ['.TP', `.B ${roff(usage ?? name)}`, ...fill([sentence, ...details].join(' '))];
}

function optionLines(): string[] {
  const lines: string[] = [];
  for (const [group, title] of GROUP_TITLES) {
    lines.push(`.SS "${roff(title)}"`);
    for (const spec of OPTION_TABLE) if (spec.group === group) lines.push(...describeOption(spec));
  }
  return lines;
}

function describeOption(spec: OptionSpec): string[] {
  const names = spec.short === undefined ? longWithValue(spec) : `-${spec.short}, ${longWithValue(spec)}`;
  const twin = spec.argument === 'negatable' ? `, --no-${spec.long}` : '';
  const notes = [spec.help];
  if (spec.commands !== 'all') notes.push(`Commands: ${spec.commands.join(', ')}.`);
  if (spec.long === 'feature') notes.push(`Names: ${FEATURE_NAMES.join(', ')}.`);
  if (spec.isOld) notes.push('Old spelling.');
  if (spec.capability === 'later') notes.push('Not yet.');
  return ['.TP', `.B ${roff(names + twin)}`, ...fill(notes.join(' '))];
}

function actionScriptLines(): string[] {
  const text =
    'Every program given with --action-script runs at each of the points (hooks) below, in the order given, without ' +
    'arguments. CRTOOLS_SCRIPT_ACTION names the hook, CRTOOLS_IMAGE_DIR the images folder, and CRTOOLS_INIT_PID the ' +
    'pid of the root task once there is one. A plain name is looked for in the PATH. Output goes to the log. A script that fails makes the operation fail.';
  return [...paragraph(text), ...tagged(HOOKS)];
}

function configurationLines(): string[] {
  const order =
    'Options are taken from these places, later ones winning: /etc/criu/default.conf, $HOME/.criu/default.conf, the ' +
    'file that CRIU_CONFIG_FILE names, the file of --config, the command line. The first two are not read when ' +
    '--no-default-config or --config is given.';
  const syntax =
    'Each line holds one option without its dashes, then blanks and its value. "#" begins a comment. A value with ' +
    'blanks or "#" stands in double quotes, in which \\" is a double quote; every other backslash is itself. Commands ' +
    'cannot stand in a file. Mistakes are told with file and line.';
  const example = [
    'work-dir "/home/user/my \\"work\\" folder"',
    '# a comment',
    'verbosity 4',
    'no-shell-job   # take back what an earlier file says',
  ];
  return [...paragraph(order), ...paragraph(syntax), ...code(example.join('\n'))];
}

if (import.meta.main) {
  writeFileSync(MAN_PAGE, generateMan());
  writeFileSync(CRIT_MAN_PAGE, generateCritMan());
  console.log(`wrote ${MAN_PAGE} and ${CRIT_MAN_PAGE}`);
}
