/** What is measured: one entry for each workload. A new one is an entry here and, if need be, a program NAME.c. */

export interface Workload {
  readonly name: string;
  /** One line for the report. */
  readonly what: string;
  /** The C file beside this one, without ".c". */
  readonly program: string;
  readonly args: readonly (string | number)[];
  /** Options that both dump and restore need. */
  readonly options?: readonly string[];
  /** Memory that a dump or restore will need, touched before it (MiB). */
  readonly touchMiB: number;
  /** Free memory below which it is skipped (MiB); images and program together. */
  readonly needsMiB?: number;
  /** Runs unless --runs says more or less; 10 unless stated. */
  readonly runs?: number;
  /** A program that has to be installed; without it the workload is skipped. */
  readonly uses?: string;
  /** Measure restores that let the program run before its memory is there. */
  readonly isAtOnce?: boolean;
  /** Only measured when named by --only. */
  readonly isOptional?: boolean;
}

const BIG_RUNS = 7;

export const WORKLOADS: readonly Workload[] = [
  { name: 'hello', what: 'small static process', program: 'hello', args: [], touchMiB: 16 },
  { name: 'service', what: 'service with threads, sockets, timers', program: 'service', args: [], touchMiB: 32 },
  {
    name: 'memory-1g',
    what: '1 GiB random anonymous memory',
    program: 'memory',
    args: [1024],
    touchMiB: 1280,
    needsMiB: 4096,
    runs: BIG_RUNS,
    isAtOnce: true,
  },
  { name: 'threads-100', what: '100 threads', program: 'threads', args: [100], touchMiB: 32 },
  { name: 'procs-100', what: 'tree of 100 small tasks', program: 'tree', args: [99], touchMiB: 128 },
  {
    name: 'memory-4g',
    what: '4 GiB random anonymous memory',
    program: 'memory',
    args: [4096],
    touchMiB: 4608,
    needsMiB: 13_000,
    runs: BIG_RUNS,
    isAtOnce: true,
    isOptional: true,
  },
  {
    name: 'redis-1g',
    what: 'redis-server with 1 GiB of keys, and a client that asks it all the time',
    program: 'redis',
    args: [262_144],
    touchMiB: 1536,
    needsMiB: 6144,
    runs: BIG_RUNS,
    uses: 'redis-server',
    isAtOnce: true,
    isOptional: true,
  },
  {
    name: 'sparse-16g',
    what: '16 GiB mapping, every 512th page touched',
    program: 'memory',
    args: [16_384, 512],
    touchMiB: 96,
    isOptional: true,
  },
  {
    name: 'threads-1000',
    what: '1000 threads',
    program: 'threads',
    args: [1000],
    touchMiB: 128,
    runs: BIG_RUNS,
    isOptional: true,
  },
  {
    name: 'procs-100-cow',
    what: '100 tasks that share 32 MiB copy-on-write',
    program: 'tree',
    args: [99, 32],
    touchMiB: 4096,
    needsMiB: 8192,
    runs: BIG_RUNS,
    isOptional: true,
  },
  { name: 'procs-500', what: 'tree of 500 small tasks', program: 'tree', args: [499], touchMiB: 512, isOptional: true },
  { name: 'fds-10k', what: '10,000 open files', program: 'fds', args: [10_000], touchMiB: 64, isOptional: true },
  { name: 'vmas-10k', what: '10,000 mappings', program: 'vmas', args: [10_000], touchMiB: 64, isOptional: true },
  { name: 'pipes-400', what: '400 pipes with data', program: 'pipes', args: [400], touchMiB: 32, isOptional: true },
  { name: 'pipes-1k', what: '1,000 pipes with data', program: 'pipes', args: [1000], touchMiB: 32, isOptional: true },
  {
    name: 'unix-400',
    what: '400 pairs of unix sockets with data',
    program: 'sockets',
    args: ['unix', 400],
    touchMiB: 32,
    isOptional: true,
  },
  {
    name: 'unix-1k',
    what: '1,000 pairs of unix sockets with data',
    program: 'sockets',
    args: ['unix', 1000],
    touchMiB: 32,
    isOptional: true,
  },
  {
    name: 'tcp-200',
    what: '200 TCP connections over the loopback device',
    program: 'sockets',
    args: ['tcp', 200],
    options: ['--tcp-established', '--network-lock', 'nftables'],
    touchMiB: 32,
    isOptional: true,
  },
];
