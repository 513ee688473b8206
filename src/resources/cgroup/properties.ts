/**
 * Which files of a cgroup are its properties, and when they are written: names of the kernel,
 * Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst. Pure.
 *
 * Version 1 is as CRIU has it. Of version 2 CRIU keeps only what all cgroups have (cgroup.*); here the limits and weights
 * of controllers are kept too, as far as they are not the default.
 */
import type { PropertyRule } from './property-spec.ts';

/** By controller; the order is the order in which they are written. */
const KNOWN_V1: Readonly<Record<string, readonly string[]>> = {
  cpu: ['cpu.shares', 'cpu.cfs_period_us', 'cpu.cfs_quota_us', 'cpu.rt_period_us', 'cpu.rt_runtime_us'],
  memory: [
    'memory.limit_in_bytes',
    'memory.memsw.limit_in_bytes', // never below the limit before it
    'memory.swappiness',
    'memory.soft_limit_in_bytes',
    'memory.move_charge_at_immigrate',
    'memory.oom_control',
    'memory.use_hierarchy',
    'memory.kmem.limit_in_bytes',
    'memory.kmem.tcp.limit_in_bytes',
  ],
  cpuset: [
    'cpuset.cpus',
    'cpuset.mems',
    'cpuset.memory_migrate',
    'cpuset.cpu_exclusive',
    'cpuset.mem_exclusive',
    'cpuset.mem_hardwall',
    'cpuset.memory_spread_page',
    'cpuset.memory_spread_slab',
    'cpuset.sched_load_balance',
    'cpuset.sched_relax_domain_level',
  ],
  blkio: ['blkio.weight'],
  net_cls: ['net_cls.classid'],
  net_prio: ['net_prio.ifpriomap'],
  pids: ['pids.max'],
  devices: ['devices.list'],
};

/** In every cgroup of version 1. */
const COMMON_V1 = ['cgroup.clone_children', 'notify_on_release', 'cgroup.procs', 'tasks'];
/** In every cgroup of version 2. */
const COMMON_V2 = [
  'cgroup.subtree_control',
  'cgroup.max.descendants',
  'cgroup.max.depth',
  'cgroup.freeze',
  'cgroup.type',
];

/** Limits and weights of version 2 with the value they have when nobody sets them. */
const LIMITS_V2: readonly (readonly [name: string, unset: string])[] = [
  ['cpuset.cpus', ''],
  ['cpuset.mems', ''],
  ['cpuset.cpus.partition', 'member'],
  ['cpu.weight', '100'],
  ['cpu.max', 'max 100000'],
  ['cpu.max.burst', '0'],
  ['cpu.idle', '0'],
  ['memory.min', '0'],
  ['memory.low', '0'],
  ['memory.high', 'max'],
  ['memory.max', 'max'],
  ['memory.swap.high', 'max'],
  ['memory.swap.max', 'max'],
  ['memory.zswap.max', 'max'],
  ['memory.oom.group', '0'],
  ['io.weight', 'default 100'],
  ['io.max', ''],
  ['pids.max', 'max'],
  ['hugetlb.2MB.max', 'max'],
  ['hugetlb.1GB.max', 'max'],
];

/** A property to look for; one that has the value `unset` is left out. */
export interface WantedProperty {
  readonly name: string;
  readonly unset?: string;
}

/** What criu keeps, changed by --cgroup-props. */
export class PropertyTable {
  readonly #known: Map<string, readonly string[]>;

  /** `ignoresDefault`: rules replace what criu knows of their controllers instead of adding to it. */
  constructor(rules: readonly PropertyRule[], ignoresDefault: boolean) {
    this.#known = new Map(Object.entries(KNOWN_V1));
    if (ignoresDefault) for (const { controller } of rules) this.#known.delete(controller);
    for (const { controller, strategy, properties } of rules) {
      const before = strategy === 'merge' ? (this.#known.get(controller) ?? []) : [];
      this.#known.set(controller, [...new Set([...before, ...properties])]);
    }
  }

  /** The properties of a hierarchy with these controllers; [''] is version 2. */
  of(controllers: readonly string[]): WantedProperty[] {
    const named = (names: readonly string[]) => names.map((name) => ({ name }));
    if (isVersion2(controllers)) {
      return [...named(COMMON_V2), ...LIMITS_V2.map(([name, unset]) => ({ name, unset }))];
    }
    return named([...controllers.flatMap((controller) => this.#known.get(controller) ?? []), ...COMMON_V1]);
  }
}

export const isVersion2 = (controllers: readonly string[]) => controllers[0] === '';

/** Files that list the members: they have an owner and a mode, but no value to keep. */
export const isMemberList = (name: string) => name === 'cgroup.procs' || name === 'tasks';

/** Whether criu stops the tasks by it: written when they are complete. */
export const isFreezer = (name: string) => name === 'freezer.state' || name === 'cgroup.freeze';

/**
 * What has to be there before a task or a child comes, or cannot be changed afterwards. All other properties are limits
 * that must not be in the way of the restore itself, so they come last.
 */
const EARLY: ReadonlySet<string> = new Set([
  'cpuset.cpus',
  'cpuset.mems',
  'cpuset.cpus.partition',
  'devices.list',
  'memory.kmem.limit_in_bytes',
  'memory.swappiness',
  'memory.oom_control',
  'memory.use_hierarchy',
  'cpu.rt_period_us', // a real-time task cannot enter without a run time
  'cpu.rt_runtime_us',
  'cgroup.type',
  'cgroup.subtree_control',
]);

export const isEarly = (name: string) => EARLY.has(name);

/** What an image keeps of the text in a property's file. */
export function imageValue(name: string, text: string): string {
  if (isMemberList(name)) return '';
  const value = text.endsWith('\n') ? text.slice(0, -1) : text;
  if (name === 'memory.oom_control') return /^oom_kill_disable (\d+)$/m.exec(value)?.[1] ?? value;
  // The largest number is what the kernel shows for "no limit", and what it does not take.
  return /^9223372036854775807/.test(value) ? '-1' : value;
}

/** One write to one file of a cgroup. */
export interface PropertyWrite {
  readonly file: string;
  readonly text: string;
  /** When the machine may lack what it is about: a failure is worth a warning only. */
  readonly mayFail?: true;
}

/** What to write so that a property that has the value `now` gets the value `wanted`. */
export function planWrites(name: string, wanted: string, now: string): PropertyWrite[] {
  if (isMemberList(name) || wanted === now) return [];
  const lines = (text: string) => text.split('\n').filter((line) => line !== '');
  switch (name) {
    case 'devices.list':
      // Only one line a write is read (security/device_cgroup.c).
      return [{ file: 'devices.deny', text: 'a' }, ...lines(wanted).map((text) => ({ file: 'devices.allow', text }))];
    case 'net_prio.ifpriomap': {
      const there = new Set(lines(now));
      return lines(wanted)
        .filter((line) => !there.has(line))
        .map((text) => ({ file: name, text, mayFail: true }));
    }
    case 'io.max':
      return lines(wanted).map((text) => ({ file: name, text, mayFail: true }));
    case 'cgroup.subtree_control': {
      const words = (text: string) => text.split(' ').filter((word) => word !== '');
      const [old, fresh] = [words(now), words(wanted)];
      const off = old.filter((word) => !fresh.includes(word)).map((word) => `-${word}`);
      const on = fresh.filter((word) => !old.includes(word)).map((word) => `+${word}`);
      return [{ file: name, text: [...off, ...on].join(' ') }];
    }
    case 'cgroup.type':
      return wanted === 'threaded' ? [{ file: name, text: wanted }] : [];
    case 'memory.kmem.limit_in_bytes':
      return [{ file: name, text: wanted, mayFail: true }]; // deprecated: EOPNOTSUPP since Linux 5.16
    default:
      return [{ file: name, text: wanted }];
  }
}
