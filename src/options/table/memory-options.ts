/** Rows of the option table: memory, page server, TLS. */

import type { CommandName } from '../commands.ts';
import type { CriuOptions } from '../criu-options.ts';
import type { Given, OptionSpec } from '../option-spec.ts';
import { parseFd, parsePositive, ValueError } from '../values.ts';

const TREE = ['dump', 'pre-dump', 'restore'] as const;
const DUMP = ['dump', 'pre-dump'] as const;
const DAEMONS = ['page-server', 'lazy-pages', 'service'] as const;
const NETWORKED = ['dump', 'pre-dump', 'page-server', 'lazy-pages'] as const;

const PORT_MAX = 65_535;

export const MEMORY_OPTIONS = [
  {
    long: 'track-mem',
    argument: 'negatable',
    sets: 'trackMem',
    group: 'memory',
    commands: DUMP,
    rpc: 'track_mem',
    capability: 'later',
    help: 'From now on let the kernel note which pages change, for the next dump.',
  },
  {
    long: 'prev-images-dir',
    argument: 'required',
    metavar: 'DIR',
    sets: 'prevImagesDir',
    group: 'memory',
    commands: [...DUMP, 'page-server'],
    rpc: 'parent_img',
    capability: 'later',
    help: 'The images of the dump before, relative to the images folder; pages that are there are not written again.',
  },
  {
    long: 'cow-dump',
    argument: 'negatable',
    sets: 'cowDump',
    group: 'memory',
    commands: ['dump'],
    rpc: null,
    capability: 'built',
    help:
      'With --leave-running: let big tasks run on after some milliseconds, and copy their memory from a fork of them. ' +
      'That is the default; meanwhile it takes memory for all pages that they write to. It is not done when there is too ' +
      'little memory, or with action scripts.',
  },
  {
    long: 'run-at-once',
    argument: 'negatable',
    sets: 'runAtOnce',
    group: 'memory',
    commands: ['restore'],
    rpc: null,
    capability: 'built',
    help:
      'Let the tasks run as soon as they exist, and bring their private memory while they run: first the pages that they ' +
      'wait for, meanwhile all others. A process of its own does that, criu-fill, which ends by itself when all memory is ' +
      'there. When it is killed before, or an image cannot be read, the tasks are killed.',
  },
  {
    long: 'pre-dump-mode',
    argument: 'required',
    metavar: 'MODE',
    sets: 'preDumpMode',
    group: 'memory',
    commands: ['pre-dump'],
    rpc: { pre_dump_mode: (mode) => ['', 'splice', 'read'].slice(mode, mode + 1) },
    capability: 'later',
    help: 'splice (when not given) or read: how the memory leaves the tasks.',
    apply: (options: CriuOptions, { value = '' }) => {
      if (value !== 'read' && value !== 'splice') throw new ValueError('Unable to parse value of --pre-dump-mode');
      options.preDumpMode = value;
    },
  },
  {
    long: 'auto-dedup',
    argument: 'negatable',
    sets: 'autoDedup',
    group: 'memory',
    commands: [...TREE, 'page-server'],
    rpc: 'auto_dedup',
    capability: 'later',
    help: 'Cut pages out of the images as soon as newer images (dump) or the tasks (restore) have them.',
  },
  {
    long: 'lazy-pages',
    argument: 'none',
    sets: 'lazyPages',
    group: 'memory',
    commands: [...TREE, 'page-server'],
    rpc: 'lazy_pages',
    capability: 'later',
    help: 'Bring memory only when it is touched: dump serves it, restore asks the lazy-pages command for it.',
  },
  {
    long: 'page-server',
    argument: 'negatable',
    sets: 'pageServer',
    group: 'page server',
    commands: DUMP,
    rpc: { ps: () => [true] },
    capability: 'later',
    help: 'Send the pages to a page server instead of writing them.',
  },
  {
    long: 'address',
    argument: 'required',
    metavar: 'ADDRESS',
    sets: 'address',
    group: 'page server',
    commands: [...NETWORKED, 'service'],
    rpc: { ps: ({ address }) => (address === undefined ? [] : [address]) },
    capability: 'built',
    laterWhen: laterThanService,
    help: 'The address of the page server, or the path of the socket of the service.',
  },
  {
    long: 'port',
    argument: 'required',
    metavar: 'NUM',
    sets: 'port',
    group: 'page server',
    commands: NETWORKED,
    rpc: { ps: ({ port }) => (port === undefined ? [] : [String(port)]) },
    capability: 'later',
    help: 'The port of the page server.',
    apply: (options, { value = '', spelling }) => {
      options.port = parsePositive(value, spelling, PORT_MAX);
    },
  },
  {
    long: 'ps-socket',
    argument: 'required',
    metavar: 'FD',
    sets: 'psSocket',
    group: 'page server',
    commands: NETWORKED,
    rpc: { ps: ({ fd }) => (fd === undefined ? [] : [String(fd)]) },
    capability: 'later',
    help: 'Talk over the open socket FD instead of making a connection.',
    apply: (options, { value = '', spelling }) => {
      options.psSocket = parseFd(value, spelling);
    },
  },
  {
    long: 'daemon',
    argument: 'negatable',
    sets: 'detached',
    group: 'page server',
    commands: DAEMONS,
    rpc: null,
    capability: 'built',
    laterWhen: laterThanService,
    help: 'Go to the background once ready.',
  },
  {
    long: 'tls',
    argument: 'negatable',
    sets: 'tls',
    group: 'page server',
    commands: NETWORKED,
    rpc: 'tls',
    capability: 'later',
    help: 'Secure the connection with TLS.',
  },
  {
    long: 'tls-cacert',
    argument: 'required',
    metavar: 'FILE',
    sets: 'tlsCaCert',
    group: 'page server',
    commands: NETWORKED,
    rpc: 'tls_cacert',
    capability: 'later',
    help: 'Trust only certificates signed with this one.',
  },
  {
    long: 'tls-cacrl',
    argument: 'required',
    metavar: 'FILE',
    sets: 'tlsCaCrl',
    group: 'page server',
    commands: NETWORKED,
    rpc: 'tls_cacrl',
    capability: 'later',
    help: 'The list of certificates that are revoked.',
  },
  {
    long: 'tls-cert',
    argument: 'required',
    metavar: 'FILE',
    sets: 'tlsCert',
    group: 'page server',
    commands: NETWORKED,
    rpc: 'tls_cert',
    capability: 'later',
    help: 'Our own certificate.',
  },
  {
    long: 'tls-key',
    argument: 'required',
    metavar: 'FILE',
    sets: 'tlsKey',
    group: 'page server',
    commands: NETWORKED,
    rpc: 'tls_key',
    capability: 'later',
    help: 'The private key of our certificate.',
  },
  {
    long: 'tls-no-cn-verify',
    argument: 'none',
    sets: 'tlsNoCnVerify',
    group: 'page server',
    commands: NETWORKED,
    rpc: 'tls_no_cn_verify',
    capability: 'later',
    help: 'Do not compare the name in the certificate of the server with its address.',
  },
] as const satisfies readonly OptionSpec[];

/** What only the service has so far. */
function laterThanService({ spelling }: Given, command: CommandName): string | undefined {
  return command === 'service' ? undefined : spelling;
}
