/** Rows of the option table: namespaces, network, cgroups, security modules. */

import type { CriuOptions, ManageCgroupsMode } from '../criu-options.ts';
import type { Given, OptionSpec, RpcValues } from '../option-spec.ts';
import { invalidArgument, parseCgroupRoot, parseJoinNamespace, ValueError } from '../values.ts';

const TREE = ['dump', 'pre-dump', 'restore'] as const;
const DUMP_RESTORE = ['dump', 'restore'] as const;

export const NAMESPACE_OPTIONS = [
  {
    long: 'join-ns',
    short: 'J',
    argument: 'required',
    metavar: 'NS:PID|FILE',
    repeated: true,
    sets: 'joinNamespaces',
    group: 'namespaces',
    commands: ['restore'],
    rpc: {
      join_ns: (list) =>
        list.map(({ ns, ns_file, extra_opt }) => `${ns}:${ns_file}${extra_opt === undefined ? '' : `,${extra_opt}`}`),
    },
    capability: 'built',
    laterWhen: ({ spelling, value = '' }) => (value.startsWith('net:') ? undefined : `${spelling} ${value}`),
    help:
      'Restore into a namespace that exists: that of PID, or the one open as FILE. NS is ipc, net, time, user or uts; ' +
      'with user may follow ",UID,GID". May be repeated.',
    apply: (options, { value = '', spelling }) => {
      options.joinNamespaces.push(parseJoinNamespace(value, spelling));
    },
  },
  {
    long: 'empty-ns',
    argument: 'required',
    metavar: 'net',
    repeated: true,
    sets: 'emptyNamespaces',
    group: 'namespaces',
    commands: [...DUMP_RESTORE, 'check'],
    rpc: { empty_ns: emptyNamespacesOfRequest },
    capability: 'built',
    help: 'Make the network namespace but leave it empty; an action script fills it.',
    apply: (options, { value = '' }) => {
      if (value !== 'net') throw new ValueError(`Unsupported empty namespace: ${value}`);
      options.emptyNamespaces = ['net'];
    },
  },
  {
    long: 'weak-sysctls',
    argument: 'negatable',
    sets: 'weakSysctls',
    group: 'namespaces',
    commands: ['restore'],
    rpc: 'weak_sysctls',
    capability: 'built',
    help: 'Skip settings of namespaces (sysctl) that this kernel does not have.',
  },
  {
    long: 'lsm-profile',
    argument: 'required',
    metavar: 'TYPE:NAME',
    sets: 'lsmProfile',
    group: 'namespaces',
    commands: ['restore'],
    rpc: 'lsm_profile',
    capability: 'built',
    help: 'Give tasks that have a security label this one of apparmor or selinux instead; with none, no label.',
    apply: (options, { value = '', spelling }) => {
      if (!/^((apparmor|selinux):.|none(:|$))/s.test(value)) throw invalidArgument(spelling, value);
      options.lsmProfile = value;
    },
  },
  {
    long: 'lsm-mount-context',
    argument: 'required',
    metavar: 'CONTEXT',
    sets: 'lsmMountContext',
    group: 'namespaces',
    commands: ['restore'],
    rpc: 'lsm_mount_context',
    capability: 'later',
    help: 'Put CONTEXT in place of the context= of those mounts that have one.',
  },

  {
    long: 'tcp-established',
    argument: 'negatable',
    sets: 'tcpEstablished',
    group: 'network',
    commands: [...TREE, 'check'],
    rpc: 'tcp_established',
    capability: 'built',
    help: 'Keep established TCP connections.',
  },
  {
    long: 'tcp-close',
    argument: 'negatable',
    sets: 'tcpClose',
    group: 'network',
    commands: [...TREE, 'check'],
    rpc: 'tcp_close',
    capability: 'built',
    help: 'Do not keep TCP connections; they come back closed.',
  },
  {
    long: 'skip-in-flight',
    argument: 'negatable',
    sets: 'skipInFlight',
    group: 'network',
    commands: [...DUMP_RESTORE, 'check'],
    rpc: 'tcp_skip_in_flight',
    capability: 'built',
    help: 'Forget TCP connections that are still being made; their clients will try again.',
  },
  {
    long: 'network-lock',
    argument: 'required',
    metavar: 'METHOD',
    sets: 'networkLock',
    group: 'network',
    commands: [...DUMP_RESTORE, 'check'],
    rpc: { network_lock: (method) => LOCK_METHODS.slice(method, method + 1) },
    capability: 'built',
    help:
      'How packets for the tree are held off until it is restored: iptables (when not given), nftables, or skip to do ' +
      'nothing. Said on dump; restore does the same.',
    apply: (options, { value = '' }) => {
      if (value === 'iptables' || value === 'nftables') options.networkLock = value;
      else if (value === 'skip' || value === 'none') options.networkLock = 'skip';
      else throw new ValueError(`Invalid value for --network-lock: ${value}`);
    },
  },

  {
    long: 'manage-cgroups',
    argument: 'optional',
    metavar: 'MODE',
    sets: 'manageCgroups',
    group: 'cgroups',
    commands: [...TREE, 'check'],
    rpc: {
      // The old way; the mode counts when both are there.
      manage_cgroups: (isOn) => [isOn ? 'soft' : 'ignore'],
      manage_cgroups_mode: (mode) => [MANAGE_CGROUPS_MODES[mode] ?? false],
    },
    capability: 'built',
    help:
      'What becomes of cgroups. none: they must exist, their properties are left alone; props: they must exist, ' +
      'properties are set; soft (without MODE): properties are set in those that criu makes; full: always; strict: ' +
      'none of them may exist; ignore: no cgroups at all.',
    apply: applyManageCgroups,
  },
  {
    long: 'cgroup-root',
    argument: 'required',
    metavar: '[CONTROLLER:]PATH',
    repeated: true,
    sets: 'cgroupRoots',
    group: 'cgroups',
    commands: [...DUMP_RESTORE, 'check'],
    rpc: { cg_root: (list) => list.map(({ ctrl, path }) => (ctrl === undefined ? path : `${ctrl}:${path}`)) },
    capability: 'built',
    help: 'Where the cgroups of the tree begin, for one controller or for all. May be repeated.',
    apply: (options, { value = '', spelling }) => {
      options.cgroupRoots.push(parseCgroupRoot(value, spelling));
    },
  },
  {
    long: 'cgroup-props',
    argument: 'required',
    metavar: 'TEXT',
    sets: 'cgroupProps',
    group: 'cgroups',
    commands: ['dump', 'check'],
    rpc: 'cgroup_props',
    capability: 'built',
    help: 'Which controllers and properties to keep, in a simple form of YAML.',
  },
  {
    long: 'cgroup-props-file',
    argument: 'required',
    metavar: 'FILE',
    sets: 'cgroupPropsFile',
    group: 'cgroups',
    commands: ['dump', 'check'],
    rpc: 'cgroup_props_file',
    capability: 'built',
    help: 'The same, from FILE.',
  },
  {
    long: 'cgroup-props-ignore-default',
    argument: 'negatable',
    sets: 'cgroupPropsIgnoreDefault',
    group: 'cgroups',
    commands: ['dump', 'check'],
    rpc: null,
    capability: 'built',
    isOld: true,
    help: 'Let --cgroup-props replace what criu knows instead of adding to it (criu 3.12; later strategy "replace").',
  },
  {
    long: 'cgroup-dump-controller',
    argument: 'required',
    metavar: 'NAME',
    repeated: true,
    sets: 'cgroupDumpControllers',
    group: 'cgroups',
    commands: ['dump', 'check'],
    rpc: 'cgroup_dump_controller',
    capability: 'built',
    help: 'Keep this controller and no other. May be repeated.',
  },
  {
    long: 'cgroup-yard',
    argument: 'required',
    metavar: 'DIR',
    sets: 'cgroupYard',
    group: 'cgroups',
    commands: [...DUMP_RESTORE, 'check'],
    rpc: 'cgroup_yard',
    capability: 'built',
    help: 'A folder in which all cgroup hierarchies are mounted already.',
  },
] as const satisfies readonly OptionSpec[];

/** By number: criu_network_lock_method of proto/rpc.proto. */
const LOCK_METHODS = ['', 'iptables', 'nftables', 'skip'];

/** CLONE_NEWNET: the only namespace that can be left empty. */
const NEWNET = 0x4000_0000;

function emptyNamespacesOfRequest(mask: number): RpcValues {
  if ((mask & ~NEWNET) !== 0) throw new ValueError(`Unsupported empty namespace: 0x${(mask >>> 0).toString(16)}`);
  return mask === 0 ? [] : ['net'];
}

/** The order is that of criu_cg_mode in proto/rpc.proto, which has DEFAULT after them. */
const MANAGE_CGROUPS_MODES: readonly string[] = ['ignore', 'none', 'props', 'soft', 'full', 'strict'];

function isMode(word: string): word is ManageCgroupsMode {
  return MANAGE_CGROUPS_MODES.includes(word);
}

function applyManageCgroups(options: CriuOptions, { value = 'soft', isOn }: Given): void {
  if (!isOn) {
    options.manageCgroups = 'default';
    return;
  }
  if (!isMode(value)) throw new ValueError(`Unknown cgroups mode \`${value}' selected`, true);
  options.manageCgroups = value;
}
