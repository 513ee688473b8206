/** Rows of the option table: the tree of tasks, and what becomes of it. */

import type { CpuCapabilities } from '../criu-options.ts';
import type { OptionSpec, RpcValues } from '../option-spec.ts';
import { parseCpuCap, parseLeadingNumber, parsePositive } from '../values.ts';

const DUMP = ['dump', 'pre-dump'] as const;
const DUMP_RESTORE = ['dump', 'restore'] as const;
const TREE = ['dump', 'pre-dump', 'restore'] as const;

export const TREE_OPTIONS = [
  {
    long: 'tree',
    short: 't',
    argument: 'required',
    metavar: 'PID',
    sets: 'treePid',
    group: 'tree',
    commands: [...DUMP, 'check'],
    rpc: 'pid',
    capability: 'built',
    help:
      'The root of the tree: this task and all its descendants are dumped, or, by check, looked at, for which they ' +
      'stand still for a moment.',
    apply: (options, { value = '', spelling }) => {
      options.treePid = parsePositive(value, spelling);
    },
  },
  // When a request wants both, the last one counts.
  {
    long: 'leave-running',
    short: 'R',
    argument: 'none',
    sets: 'finalState',
    group: 'tree',
    commands: ['dump'],
    rpc: 'leave_running',
    capability: 'built',
    help:
      'Let the tasks run on after the dump instead of killing them. What they do from then on (connections, files) may ' +
      'make the images useless, so keep a snapshot of the files, taken by a post-dump script.',
    apply: (options) => {
      options.finalState = 'alive';
    },
  },
  {
    long: 'leave-stopped',
    short: 's',
    argument: 'none',
    sets: 'finalState',
    group: 'tree',
    commands: DUMP_RESTORE,
    rpc: 'leave_stopped',
    capability: 'built',
    help: 'Leave the tasks stopped afterwards instead of killing (dump) or resuming (restore) them.',
    apply: (options) => {
      options.finalState = 'stopped';
    },
  },
  {
    long: 'restore-detached',
    short: 'd',
    argument: 'negatable',
    sets: 'detached',
    group: 'tree',
    commands: ['restore'],
    rpc: null,
    capability: 'built',
    help: 'End criu once the tree is restored. Without it criu waits until the root task ends.',
  },
  {
    long: 'restore-sibling',
    short: 'S',
    argument: 'negatable',
    sets: 'restoreSibling',
    group: 'tree',
    commands: ['restore'],
    rpc: 'rst_sibling',
    capability: 'built',
    help: 'Make the root task a child of the parent of criu. Needs --restore-detached.',
  },
  {
    long: 'exec-cmd',
    argument: 'none',
    sets: 'execCmd',
    group: 'tree',
    commands: ['restore'],
    rpc: { exec_cmd: (words) => (words.length > 0 ? [true] : []) },
    capability: 'later',
    help: 'After a restore become the program that follows "--"; it is then the parent of the tree.',
  },
  {
    long: 'shell-job',
    short: 'j',
    argument: 'negatable',
    sets: 'shellJob',
    group: 'tree',
    commands: [...TREE, 'check'],
    rpc: 'shell_job',
    capability: 'built',
    help:
      'Allow a job of a shell, whose session leader or terminal is outside the tree. Restored, it gets the session and ' +
      'the terminal of criu. Needed on dump and on restore.',
  },
  {
    long: 'timeout',
    argument: 'required',
    metavar: 'SECONDS',
    sets: 'timeoutSeconds',
    group: 'tree',
    commands: [...DUMP, 'check'],
    rpc: 'timeout',
    capability: 'built',
    help: 'Give up when the tasks cannot be stopped within SECONDS; 0 means never. 10 when not given.',
    apply: (options, { value = '' }) => {
      options.timeoutSeconds = parseLeadingNumber(value);
    },
  },
  {
    long: 'freeze-cgroup',
    argument: 'required',
    metavar: 'PATH',
    sets: 'freezeCgroup',
    group: 'tree',
    commands: [...DUMP, 'check'],
    rpc: 'freeze_cgroup',
    capability: 'built',
    help: 'Stop the tasks with the freezer of the cgroup at PATH.',
  },
  {
    long: 'cpu-cap',
    argument: 'optional',
    metavar: 'LIST',
    sets: 'cpuCap',
    group: 'tree',
    commands: [...TREE, 'cpuinfo'],
    rpc: { cpu_cap: cpuCapOfRequest },
    capability: 'built',
    help:
      'The CPU features to write on dump and to insist on at restore: a list of cpu (the same CPU), ins (all its ' +
      'instructions), fpu (the same registers), all, none; "^" takes one away. All without LIST; fpu,ins when not given.',
    apply: (options, { value }) => {
      options.cpuCap = parseCpuCap(value, options.cpuCap) satisfies CpuCapabilities;
    },
  },
  {
    long: 'allow-uprobes',
    argument: 'negatable',
    sets: 'allowUprobes',
    group: 'tree',
    commands: TREE,
    rpc: null,
    capability: 'later',
    help: 'Allow tasks in which the kernel has mapped its page for user-space probes. Needed on dump and on restore.',
  },
] as const satisfies readonly OptionSpec[];

/** CPU_CAP_* of CRIU (criu/include/cr_options.h); bits above are what its default, all ones, has. */
function cpuCapOfRequest(mask: number): RpcValues {
  const words = ['fpu', 'cpu', 'ins'].filter((_, bit) => (mask & (1 << bit)) !== 0);
  return [['none', ...words].join(',')];
}
