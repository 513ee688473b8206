/** Rows of the option table: general, check, logging, configuration. */

import type { CriuOptions } from '../criu-options.ts';
import { isFeatureName } from '../feature-names.ts';
import type { OptionSpec, RpcValues } from '../option-spec.ts';
import { invalidArgument, nextLogLevel, parseFd, tryParseNumber, ValueError } from '../values.ts';

const DUMP_RESTORE = ['dump', 'restore'] as const;
const TREE = ['dump', 'pre-dump', 'restore'] as const;
const DAEMONS = ['page-server', 'lazy-pages', 'service'] as const;

export const GENERAL_OPTIONS = [
  {
    long: 'images-dir',
    short: 'D',
    argument: 'required',
    metavar: 'DIR',
    sets: 'imagesDir',
    group: 'general',
    commands: 'all',
    rpc: {
      images_dir: (path) => [path],
      images_dir_fd: (fd, folder) => (fd === -1 ? [] : [folder(fd)]),
    },
    capability: 'built',
    help: 'The folder of the image files. The current folder when not given.',
  },
  {
    long: 'work-dir',
    short: 'W',
    argument: 'required',
    metavar: 'DIR',
    sets: 'workDir',
    group: 'general',
    commands: 'all',
    rpc: { work_dir_fd: (fd, folder) => [folder(fd)] },
    capability: 'built',
    help: 'The folder for log, pid file and statistics. The folder of the images when not given.',
  },
  {
    long: 'pidfile',
    argument: 'required',
    metavar: 'FILE',
    sets: 'pidfile',
    group: 'general',
    commands: ['restore', ...DAEMONS],
    rpc: null,
    capability: 'built',
    help: 'Write the pid of the restored root task, or of the server, to FILE. FILE must not exist.',
  },
  {
    long: 'action-script',
    argument: 'required',
    metavar: 'FILE',
    repeated: true,
    sets: 'actionScripts',
    group: 'general',
    commands: TREE,
    rpc: null,
    capability: 'built',
    help: 'Run FILE at certain points of the work, named by the variable CRTOOLS_SCRIPT_ACTION. May be repeated.',
  },
  {
    long: 'close',
    argument: 'required',
    metavar: 'FD',
    sets: 'closeFds',
    group: 'general',
    commands: 'all',
    rpc: null,
    capability: 'built',
    help: 'Close descriptor FD before anything else. May be repeated.',
    apply: (options: CriuOptions, { value = '', spelling }) => {
      options.closeFds.push(parseFd(value, spelling));
    },
  },
  {
    long: 'status-fd',
    argument: 'required',
    metavar: 'FD',
    sets: 'statusFd',
    group: 'general',
    commands: ['dump', 'restore', ...DAEMONS],
    rpc: 'status_fd',
    capability: 'built',
    help: 'Write a zero byte to FD and close it once criu is ready for requests.',
    apply: (options, { value = '' }) => {
      options.statusFd = tryParseNumber(value);
      if (options.statusFd === undefined) throw new ValueError('Unable to parse a value of --status-fd');
    },
  },
  {
    long: 'libdir',
    short: 'L',
    argument: 'required',
    metavar: 'DIR',
    sets: 'pluginDir',
    group: 'general',
    commands: DUMP_RESTORE,
    rpc: null,
    capability: 'built',
    help: 'The folder of plugins. The variable CRIU_LIBS_DIR says the same. So far it must be empty or absent.',
  },
  {
    long: 'stream',
    argument: 'negatable',
    sets: 'stream',
    group: 'general',
    commands: ['dump', 'pre-dump', 'restore', 'cpuinfo'],
    rpc: null,
    capability: 'later',
    help: 'Exchange images with criu-image-streamer through its sockets in the images folder.',
  },
  {
    long: 'unprivileged',
    argument: 'negatable',
    sets: 'unprivileged',
    group: 'general',
    commands: [...TREE, 'check'],
    rpc: 'unprivileged',
    capability: 'later',
    help: 'Accept what cannot be done without being root.',
  },
  {
    long: 'deprecated',
    argument: 'negatable',
    sets: 'deprecatedOk',
    group: 'general',
    commands: 'all',
    rpc: null,
    capability: 'built',
    help: 'Allow what has been given up. The variable CRIU_DEPRECATED does the same.',
  },
  {
    long: 'help',
    short: 'h',
    argument: 'none',
    sets: null,
    group: 'general',
    commands: 'all',
    rpc: null,
    capability: 'built',
    help: 'Show this text; after a command, only what concerns it.',
    apply: () => {},
  },
  {
    long: 'version',
    short: 'V',
    argument: 'none',
    sets: null,
    group: 'general',
    commands: 'all',
    rpc: null,
    capability: 'built',
    help: 'Show the version.',
    apply: () => {},
  },

  {
    long: 'extra',
    argument: 'negatable',
    sets: 'checkExtra',
    group: 'check',
    commands: ['check'],
    rpc: null,
    capability: 'built',
    help: 'Also check what only some programs need.',
  },
  {
    long: 'experimental',
    argument: 'negatable',
    sets: 'checkExperimental',
    group: 'check',
    commands: ['check'],
    rpc: null,
    capability: 'built',
    help: 'Also check what is still an experiment.',
  },
  {
    long: 'all',
    argument: 'none',
    sets: 'checkExtra',
    group: 'check',
    commands: ['check'],
    rpc: null,
    capability: 'built',
    help: 'The same as --extra --experimental.',
    apply: (options) => {
      options.checkExtra = true;
      options.checkExperimental = true;
    },
  },
  {
    long: 'feature',
    argument: 'required',
    metavar: 'NAME',
    sets: 'checkFeature',
    group: 'check',
    commands: ['check'],
    rpc: null,
    capability: 'built',
    help: 'Check only this one; "list" shows all names.',
    apply: (options, { value = '' }) => {
      if (value !== 'list' && !isFeatureName(value)) throw new ValueError(`Unknown feature ${value}`);
      options.checkFeature = value;
    },
  },
  {
    long: 'ms',
    argument: 'none',
    sets: null,
    group: 'check',
    commands: ['check'],
    rpc: null,
    capability: 'built',
    help: 'Given up.',
    isOld: true,
    apply: () => {
      throw new ValueError('--ms is deprecated; see "Check options" of criu --help');
    },
  },

  {
    long: 'log-file',
    short: 'o',
    argument: 'required',
    metavar: 'FILE',
    sets: 'logFile',
    group: 'logging',
    commands: 'all',
    rpc: {
      log_to_stderr: (isWanted) => (isWanted ? [false] : []),
      log_file: logFileOfRequest,
    },
    capability: 'built',
    help: 'Write the log to FILE in the work folder; "-" is stdout. Without it the log goes to stderr.',
    apply: (options, { value = '', spelling, isOn }) => {
      if (isOn && value === '') throw invalidArgument(spelling, value);
      options.logFile = isOn ? value : undefined;
    },
  },
  {
    long: 'verbosity',
    short: 'v',
    argument: 'optional',
    metavar: 'NUM',
    sets: 'logLevel',
    group: 'logging',
    commands: 'all',
    rpc: 'log_level',
    capability: 'built',
    help:
      'How much to log: 0 nothing, 1 errors, 2 also warnings (when not given), 3 also information and the time, 4 also ' +
      'details for debugging. Without NUM one more than before; -vv is two more.',
    apply: (options, { value }) => {
      options.logLevel = nextLogLevel(options.logLevel, value);
    },
  },
  {
    long: 'log-pid',
    argument: 'negatable',
    sets: 'logPid',
    group: 'logging',
    commands: ['restore'],
    rpc: null,
    capability: 'built',
    help: 'Has no effect: a single process restores all tasks, and writes one log.',
  },
  {
    long: 'display-stats',
    argument: 'negatable',
    sets: 'displayStats',
    group: 'logging',
    commands: TREE,
    rpc: 'display_stats',
    capability: 'built',
    help: 'Show at the end how long it took and how many pages there were. The image stats-* keeps it in any case.',
  },

  {
    long: 'config',
    argument: 'required',
    metavar: 'FILE',
    sets: 'configFile',
    group: 'configuration',
    commands: 'all',
    rpc: null,
    capability: 'built',
    help: 'Read options from FILE instead of the default configuration files.',
  },
  {
    long: 'no-default-config',
    argument: 'none',
    sets: 'noDefaultConfig',
    group: 'configuration',
    commands: 'all',
    rpc: null,
    capability: 'built',
    help: 'Do not read the default configuration files.',
  },
] as const satisfies readonly OptionSpec[];

/** A request names a file in the work folder; anything else could be used to write over files of others. */
function logFileOfRequest(name: string): RpcValues {
  if (name.includes('/')) throw new ValueError(`No subdirs are allowed in log_file name: ${name}`);
  return [name];
}
