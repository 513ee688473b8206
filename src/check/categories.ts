/** What `criu check` asks when no feature is named: categories as in the manual. */

import { tryStat } from '../linux/syscalls/fs.ts';
import { type FeatureName, isFeatureName } from '../options/feature-names.ts';
import { FEATURES } from './features.ts';
import * as Memory from './memory-probes.ts';
import * as Network from './network-probes.ts';
import type { Probe } from './probe.ts';
import * as Proc from './proc-probes.ts';
import * as Process from './process-probes.ts';
import { probeSpecialMappings } from './stub-probes.ts';

export type NamedProbe = Probe & { readonly name: string };

/** Category 1: no dump or restore without these. CRIU's list, without what only CRIU needs (vmsplice, ns_last_pid). */
export const REQUIRED: readonly NamedProbe[] = [
  { name: 'map_files', neededFor: 'mapped files', run: () => Proc.probeAccess('/proc/self/map_files', 'read') },
  { name: 'sock_diag', neededFor: 'programs with sockets', run: Network.probeSockDiag },
  { name: 'set_tid', neededFor: 'tasks with their old pids', run: Process.probeClone3SetTid },
  { name: 'pidfd_getfd', neededFor: 'open files', run: Memory.probePidfdStore },
  { name: 'process_vm', neededFor: 'reading memory', run: Memory.probeProcessVm },
  { name: 'peek_off', neededFor: 'data waiting in unix sockets', run: Network.probePeekOff },
  { name: 'kcmp', neededFor: 'what tasks share', run: Process.probeKcmp },
  { name: 'tid_address', neededFor: 'threads', run: Memory.probeTidAddress },
  { name: 'mm_map', neededFor: 'the layout of memory', run: Memory.probePrctlMmMap },
  { name: 'owner_uids', neededFor: 'owners of descriptors', run: Process.probeOwnerUids },
  { name: 'stat', neededFor: 'tasks', run: Proc.probeStat },
  { name: 'tcp_repair', neededFor: 'TCP connections', run: Network.probeTcpRepair },
  { name: 'fdinfo', neededFor: 'eventfd, epoll, signalfd, inotify', run: Process.probeFdinfoEvents },
  { name: 'pty', neededFor: 'terminals', run: Process.probePty },
  { name: 'socket_options', neededFor: 'programs with sockets', run: Network.probeSocketGets },
  {
    name: 'ipc_next_id',
    neededFor: 'System V IPC objects with their old ids',
    run: () => Proc.probeAccess('/proc/sys/kernel/sem_next_id', 'read-write'),
  },
  { name: 'sigqueueinfo', neededFor: 'pending signals', run: Process.probeSigqueueinfo },
  { name: 'peeksiginfo', neededFor: 'pending signals', run: Process.probePeekSiginfo },
  { name: 'mremap_vdso', neededFor: 'the vdso of tasks', run: probeSpecialMappings },
];

const EXTRA_NAMES = [
  'seccomp_suspend', 'seccomp_filters', 'mem_dirty_track', 'timerfd', 'mnt_id', 'aio_remap', 'fdinfo_lock', 'cgroupns',
  'tcp_half_closed', 'userns', 'loginuid', 'can_map_vdso', 'uffd', 'uffd-noncoop', 'sk_ns', 'kcmp_epoll',
  'net_diag_raw', 'clone3_set_tid', 'timens', 'newifindex', 'pidfd_store', 'ns_pid', 'network_lock_nftables',
  'sockopt_buf_lock', 'memfd_hugetlb', 'move_mount_set_group', 'openat2', 'get_rseq_conf', 'ipv6_freebind',
  'pagemap_scan', 'overlayfs_maps', 'timer_cr_ids', 'pagemap_scan_guard_pages',
] as const satisfies readonly FeatureName[]; // biome-ignore format: a list of words

const named = (name: FeatureName): NamedProbe => ({ name, ...FEATURES[name] });
const exists = (path: string) => typeof tryStat(path) !== 'number';

/** Category 2: needed by some programs only. Tun and AppArmor count only on machines that have them. */
export function extraProbes(): NamedProbe[] {
  return [
    ...EXTRA_NAMES.filter(isFeatureName).map(named),
    {
      name: 'posix_timers',
      neededFor: 'programs with POSIX timers',
      run: () => Proc.probeAccess('/proc/self/timers', 'read'),
    },
    { name: 'clone_parent', neededFor: '--restore-sibling into a pid namespace', run: Process.probeCloneParent },
    { name: 'tcp_window', neededFor: 'TCP connections', run: Network.probeTcpWindow },
    ...(exists('/dev/net/tun') ? [named('tun')] : []),
    ...(exists('/sys/kernel/security/apparmor') ? [named('apparmor_stacking')] : []),
  ];
}

/** Category 3: experiments. */
export function experimentalProbes(): NamedProbe[] {
  return (['autofs', 'compat_cr'] as const).map(named);
}
