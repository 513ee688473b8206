/** Rows of the option table: files, external resources, mounts. */

import type { CriuOptions, ExternalResource } from '../criu-options.ts';
import type { Given, OptionSpec } from '../option-spec.ts';
import {
  badExternal,
  invalidArgument,
  parseAutoMountFlags,
  parseExternal,
  parseInheritFd,
  parsePair,
  parseSize,
  parseSocketInodes,
  ValueError,
} from '../values.ts';

const TREE = ['dump', 'pre-dump', 'restore'] as const;
const DUMP_RESTORE = ['dump', 'restore'] as const;

export const FILE_OPTIONS = [
  {
    long: 'evasive-devices',
    argument: 'negatable',
    sets: 'evasiveDevices',
    group: 'files',
    commands: [...TREE, 'check'],
    rpc: 'evasive_devices',
    capability: 'built',
    help: 'Use any path to a device when the path by which it was opened is gone.',
  },
  {
    long: 'link-remap',
    argument: 'negatable',
    sets: 'linkRemap',
    group: 'files',
    commands: [...TREE, 'check'],
    rpc: 'link_remap',
    capability: 'built',
    help: 'Allow to give a deleted file that has other names a temporary name beside the old one.',
  },
  {
    long: 'ghost-limit',
    argument: 'required',
    metavar: 'SIZE',
    sets: 'ghostLimitBytes',
    group: 'files',
    commands: ['dump', 'check'],
    rpc: 'ghost_limit',
    capability: 'built',
    help: 'Up to this size deleted files are kept in the images; K, M and G may follow. 1M when not given.',
    apply: (options, { value = '', spelling }) => {
      options.ghostLimitBytes = parseSize(value, spelling);
    },
  },
  {
    long: 'ghost-fiemap',
    argument: 'negatable',
    sets: 'ghostFiemap',
    group: 'files',
    commands: ['dump', 'check'],
    rpc: null,
    capability: 'built',
    help: 'Has no effect: holes of deleted files are found by lseek(2), which takes no longer.',
  },
  {
    long: 'file-locks',
    short: 'l',
    argument: 'negatable',
    sets: 'fileLocks',
    group: 'files',
    commands: [...TREE, 'check'],
    rpc: 'file_locks',
    capability: 'built',
    help: 'Keep file locks. Only safe when nobody outside the tree holds or waits for the same locks.',
  },
  {
    long: 'file-validation',
    argument: 'required',
    metavar: 'METHOD',
    sets: 'fileValidation',
    group: 'files',
    commands: [...DUMP_RESTORE, 'check'],
    rpc: null,
    capability: 'built',
    help: 'How to tell that a file is still the same: filesize, or buildid (when not given) for programs and libraries.',
    apply: (options, { value = '' }) => {
      if (value !== 'filesize' && value !== 'buildid') {
        throw new ValueError(`Unknown file validation method \`${value}' selected`, true);
      }
      options.fileValidation = value;
    },
  },
  {
    long: 'skip-file-rwx-check',
    argument: 'negatable',
    sets: 'skipFileRwxCheck',
    group: 'files',
    commands: ['restore'],
    rpc: 'skip_file_rwx_check',
    capability: 'built',
    help: 'Restore although the permissions of a file have changed.',
  },
  {
    long: 'force-irmap',
    argument: 'negatable',
    sets: 'forceIrmap',
    group: 'files',
    commands: ['dump', 'pre-dump', 'check'],
    rpc: 'force_irmap',
    capability: 'built',
    help: 'Find the paths of inotify and fanotify watches by searching, not by file handle.',
  },
  {
    long: 'irmap-scan-path',
    argument: 'required',
    metavar: 'PATH',
    repeated: true,
    sets: 'irmapScanPaths',
    group: 'files',
    commands: ['dump', 'pre-dump', 'check'],
    rpc: 'irmap_scan_paths',
    capability: 'built',
    help: 'Search PATH first for what is watched. May be repeated.',
  },
  {
    long: 'root',
    short: 'r',
    argument: 'required',
    metavar: 'PATH',
    sets: 'root',
    group: 'files',
    commands: ['restore'],
    rpc: 'root',
    capability: 'built',
    help:
      'The new root folder of a tree that has a mount namespace; it must be a mount point. Other trees, so far all that can ' +
      'be restored, get the root of criu, and a warning tells of it.',
  },

  {
    long: 'external',
    argument: 'required',
    metavar: 'TYPE[ID]:VALUE',
    repeated: true,
    sets: 'external',
    group: 'external',
    commands: TREE,
    rpc: { external: (keys) => keys, auto_ext_mnt: (isWanted) => (isWanted ? ['mnt[]'] : []) },
    capability: 'built',
    laterWhen: laterExternal,
    help:
      'Something at the border of the tree that is not saved, or where to find it again. On dump: file[MNT:INODE], ' +
      'tty[RDEV:DEV], unix[INODE], dev[MAJOR/MINOR]:NAME, mnt[MOUNTPOINT]:NAME, mnt[]:FLAGS, net[INODE]:NAME, ' +
      'pid[INODE]:NAME. On restore: mnt[NAME]:PATH, mnt[], dev[NAME]:PATH, veth[IN]:OUT@BRIDGE, macvlan[IN]:OUT, ' +
      'netdev[IN]:OUT. May be repeated.',
    apply: applyExternal,
  },
  {
    long: 'inherit-fd',
    argument: 'required',
    metavar: 'fd[FD]:KEY',
    repeated: true,
    sets: 'inheritFds',
    group: 'external',
    commands: ['restore'],
    rpc: { inherit_fd: (list) => list.map(({ fd, key }) => `fd[${fd}]:${key}`) },
    capability: 'built',
    laterWhen: ({ spelling, value = '' }) => (/:\/memfd:/.test(value) ? `${spelling} ${value}` : undefined),
    help:
      'Use the open descriptor FD of criu for KEY: tty[RDEV:DEV], pipe:[INODE], socket:[INODE], file[MNT:INODE], ' +
      '/memfd:NAME, or a path without the leading slash. May be repeated.',
    apply: (options, { value = '' }) => {
      options.inheritFds.push(parseInheritFd(value));
    },
  },
  {
    long: 'ext-unix-sk',
    short: 'x',
    argument: 'optional',
    metavar: 'INODE,...',
    sets: 'externalUnixSockets',
    group: 'external',
    commands: [...TREE, 'check'],
    rpc: { ext_unix_sk: (isOn) => [isOn], unix_sk_ino: (list) => list.map(({ inode }) => String(inode)) },
    capability: 'built',
    isOld: true,
    help: 'Allow UNIX sockets whose peer is outside the tree; use --external unix[INODE].',
    apply: (options, { value, isOn }) => {
      if (value !== undefined) options.externalUnixInodes.push(...parseSocketInodes(value));
      options.externalUnixSockets = isOn;
    },
  },
  {
    long: 'ext-mount-map',
    short: 'M',
    argument: 'required',
    metavar: 'KEY:VALUE|auto',
    repeated: true,
    sets: 'external',
    group: 'external',
    commands: TREE,
    rpc: { ext_mnt: (list) => list.map(({ key, val }) => `${key}:${val}`) },
    capability: 'later',
    isOld: true,
    help: 'Use --external mnt[KEY]:VALUE; "auto" is --external mnt[].',
    apply: (options, { value = '', spelling }) => {
      if (value === 'auto') {
        options.externalMountsAuto = true;
        return;
      }
      const [key, target] = parsePair(value, ':', spelling);
      addResource(options, 'mnt', key, target);
    },
  },
  {
    long: 'enable-external-sharing',
    argument: 'none',
    sets: 'externalSharing',
    group: 'external',
    commands: TREE,
    rpc: 'ext_sharing',
    capability: 'later',
    isOld: true,
    help: 'Use --external mnt[]:s.',
  },
  {
    long: 'enable-external-masters',
    argument: 'none',
    sets: 'externalMasters',
    group: 'external',
    commands: TREE,
    rpc: 'ext_masters',
    capability: 'later',
    isOld: true,
    help: 'Use --external mnt[]:m.',
  },
  {
    long: 'veth-pair',
    argument: 'required',
    metavar: 'IN=OUT',
    repeated: true,
    sets: 'external',
    group: 'external',
    commands: ['restore'],
    rpc: { veths: (list) => list.map(({ if_in, if_out }) => `${if_in}=${if_out}`) },
    capability: 'built',
    isOld: true,
    help: 'Use --external veth[IN]:OUT.',
    apply: (options, { value = '', spelling }) => {
      const [inside, outside] = parsePair(value, '=', spelling);
      addResource(options, 'veth', inside, outside);
    },
  },

  {
    long: 'skip-mnt',
    argument: 'required',
    metavar: 'PATH',
    repeated: true,
    sets: 'skipMounts',
    group: 'namespaces',
    commands: TREE,
    rpc: 'skip_mnt',
    capability: 'later',
    help: 'Leave out the mount at PATH. May be repeated.',
  },
  {
    long: 'enable-fs',
    argument: 'required',
    metavar: 'LIST',
    sets: 'enableFilesystems',
    group: 'namespaces',
    commands: TREE,
    rpc: 'enable_fs',
    capability: 'later',
    help: 'File systems, or "all", to mount again by source and options although criu does not know them.',
    apply: (options, { value = '', spelling }) => {
      const names = value.split(',').filter((name) => name !== '');
      if (names.length === 0) throw invalidArgument(spelling, value);
      options.enableFilesystems.push(...names);
    },
  },
  {
    long: 'mntns-compat-mode',
    argument: 'negatable',
    sets: 'mntnsCompatMode',
    group: 'namespaces',
    commands: ['restore'],
    rpc: 'mntns_compat_mode',
    capability: 'later',
    help: 'Build the mount tree the way that old kernels need.',
  },
] as const satisfies readonly OptionSpec[];

/** The kinds CRIU knows; others are kept for plugins. */
const LATER_TYPES: readonly string[] = ['mnt', 'dev', 'pid', 'macvlan', 'netdev'];

function laterExternal({ spelling, value = '' }: Given): string | undefined {
  return LATER_TYPES.includes(parseExternal(value).type) ? `${spelling} ${value}` : undefined;
}

function applyExternal(options: CriuOptions, { value = '' }: Given): void {
  const resource = parseExternal(value);
  if (resource.type === 'mnt' && resource.id === '') {
    const { masters, sharing } = parseAutoMountFlags(resource);
    options.externalMountsAuto = true;
    options.externalMasters ||= masters;
    options.externalSharing ||= sharing;
    return;
  }
  if (resource.type === 'file' && !/^[0-9a-f]+:[0-9a-f]+$/i.test(resource.id ?? '')) throw badExternal(value);
  if (resource.type === 'net' && !(/^[0-9]+$/.test(resource.id ?? '') && resource.value)) throw badExternal(value);
  if (resource.type === 'veth' && !/^[^@]+(@[^@]+)?$/.test(resource.value ?? '')) throw badExternal(value);
  options.external.push(resource);
}

function addResource(options: CriuOptions, type: string, id: string, value: string): void {
  options.external.push({ key: `${type}[${id}]:${value}`, type, id, value } satisfies ExternalResource);
}
