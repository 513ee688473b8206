/** The commands of criu: what the parser, the help and the man page know about them. */

export type CommandName =
  | 'dump'
  | 'pre-dump'
  | 'restore'
  | 'check'
  | 'cpuinfo'
  | 'page-server'
  | 'lazy-pages'
  | 'service'
  | 'swrk'
  | 'dedup'
  | 'crit'
  | 'exec'
  | 'show';

export interface CommandSpec {
  readonly name: CommandName;
  /** What follows the word `criu` in the usage; undefined hides the command there. */
  readonly usage: string | undefined;
  /** One line. */
  readonly summary: string;
  /** Command lines and what they do, for whoever asks for help for the first time. */
  readonly examples?: readonly (readonly [line: string, what: string])[];
  /** 'later' commands are refused by name, after their command line has been checked. */
  readonly capability: 'built' | 'later';
}

export const COMMANDS: readonly CommandSpec[] = [
  {
    name: 'dump',
    usage: 'dump -t PID [OPTION...]',
    summary: 'save a process and all its descendants as images',
    examples: [
      ['mkdir checkpoint && criu dump -t 1234 -D checkpoint', 'save process 1234 and end it'],
      ['criu dump -t 1234 -D checkpoint --shell-job', 'when it was started from a shell'],
      ['criu dump -t 1234 -D checkpoint --leave-running', 'and let it run on'],
      ['criu dump -t 1234 -D checkpoint -v4 -o dump.log', 'with a log in the same folder'],
    ],
    capability: 'built',
  },
  {
    name: 'pre-dump',
    usage: 'pre-dump -t PID [OPTION...]',
    summary: 'save memory ahead of a dump while the tasks go on running',
    capability: 'later',
  },
  {
    name: 'restore',
    usage: 'restore [OPTION...]',
    summary: 'create the processes again from images',
    examples: [
      ['criu restore -D checkpoint -d', 'and leave it alone'],
      ['criu restore -D checkpoint --shell-job', 'in this terminal, until it ends'],
    ],
    capability: 'built',
  },
  {
    name: 'check',
    usage: 'check [--feature NAME | --tree PID] [OPTION...]',
    summary: 'tell whether this kernel has what criu needs, or whether a tree can be dumped',
    examples: [
      ['criu check', 'ask the kernel'],
      ['criu check --tree 1234', 'tell all that speaks against a dump of process 1234, which goes on'],
    ],
    capability: 'built',
  },
  {
    name: 'cpuinfo',
    usage: 'cpuinfo dump|check [OPTION...]',
    summary: 'write the features of this CPU as an image, or compare them with one',
    capability: 'built',
  },
  {
    name: 'page-server',
    usage: 'page-server [OPTION...]',
    summary: 'receive memory pages over the network',
    capability: 'later',
  },
  {
    name: 'lazy-pages',
    usage: 'lazy-pages -D DIR [OPTION...]',
    summary: 'give restored tasks their memory when they touch it',
    capability: 'later',
  },
  {
    name: 'service',
    usage: 'service [OPTION...]',
    summary: 'answer requests (RPC) on a socket',
    capability: 'built',
  },
  {
    name: 'dedup',
    usage: 'dedup [OPTION...]',
    summary: 'remove from older images the pages that newer ones hold again',
    capability: 'later',
  },
  {
    name: 'crit',
    usage: 'crit COMMAND ...',
    summary: 'show and edit images, see criu crit --help',
    capability: 'built',
  },
  { name: 'swrk', usage: undefined, summary: 'answer requests (RPC) on a descriptor', capability: 'built' },
  {
    name: 'exec',
    usage: undefined,
    summary: 'call the kernel in another task (deprecated): exec -t PID -- SYSCALL [NUMBER|&TEXT|@SIZE]',
    capability: 'built',
  },
  { name: 'show', usage: undefined, summary: 'given up; crit does it', capability: 'built' },
];

export function findCommand(word: string): CommandSpec | undefined {
  for (const command of COMMANDS) if (command.name === word) return command;
  return undefined;
}
