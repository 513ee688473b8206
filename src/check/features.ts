/** The features that `criu check` knows by name, and how the running kernel is asked for each. */

import { tryStat } from '../linux/syscalls/fs.ts';
import type { FeatureName } from '../options/feature-names.ts';
import * as Memory from './memory-probes.ts';
import { probeMoveMountSetGroup, probeOverlayfsMaps } from './mount-probes.ts';
import * as Network from './network-probes.ts';
import * as Nftables from './nftables-probes.ts';
import type { Probe } from './probe.ts';
import * as Proc from './proc-probes.ts';
import * as Process from './process-probes.ts';
import { probeCompatMmap } from './stub-probes.ts';

const hasIpv6 = () => typeof tryStat('/proc/sys/net/ipv6') !== 'number';

/** All names of CRIU 4.2, and what each is for. */
export const FEATURES: Readonly<Record<FeatureName, Probe>> = {
  mnt_id: { neededFor: 'finding the mount of an open file', run: Proc.probeMntId },
  mem_dirty_track: { neededFor: 'pre-dump and --track-mem', run: Memory.probeMemDirtyTrack },
  aio_remap: { neededFor: 'programs that use io_setup', run: Memory.probeAioRemap },
  timerfd: { neededFor: 'programs with timerfds', run: Process.probeTimerfd },
  tun: { neededFor: 'programs with tun or tap devices', run: Network.probeTun },
  tun_ns: { neededFor: 'tun devices of network namespaces', run: Network.probeTunNs },
  userns: {
    neededFor: 'user namespaces',
    run: () => Proc.probeAccess('/proc/self/ns/user', 'exists') ?? Memory.probePrctlMmMap(),
  },
  fdinfo_lock: { neededFor: 'programs with file locks (--file-locks)', run: Proc.probeFdinfoLock },
  seccomp_suspend: { neededFor: 'programs under seccomp', run: Process.probeSeccompSuspend },
  seccomp_filters: { neededFor: 'programs with seccomp filters', run: Process.probeSeccompFilters },
  loginuid: { neededFor: 'keeping the login uid of tasks', run: Proc.probeLoginuid },
  cgroupns: { neededFor: 'cgroup namespaces', run: () => Proc.probeAccess('/proc/self/ns/cgroup', 'exists') },
  autofs: { neededFor: 'mount namespaces with autofs', run: Proc.probeAutofs },
  tcp_half_closed: { neededFor: 'half-closed TCP connections', run: Network.probeTcpHalfClosed },
  compat_cr: { neededFor: '32-bit programs', run: () => Memory.probeCanMapVdso() ?? probeCompatMmap() },
  uffd: { neededFor: '--lazy-pages', run: Memory.probeUffd },
  'uffd-noncoop': { neededFor: '--lazy-pages of programs that fork or unmap memory', run: Memory.probeUffdNoncoop },
  can_map_vdso: { neededFor: '32-bit programs', run: Memory.probeCanMapVdso },
  sk_ns: { neededFor: 'sockets of several network namespaces', run: Network.probeSkNs },
  sk_unix_file: { neededFor: 'unix sockets bound to files', run: Network.probeSkUnixFile },
  net_diag_raw: { neededFor: 'programs with raw sockets', run: Network.probeNetDiagRaw },
  nsid: { neededFor: 'several network namespaces', run: Network.probeNsid },
  link_nsid: { neededFor: 'network devices with a peer in another namespace', run: Network.probeLinkNsid },
  kcmp_epoll: { neededFor: 'epoll targets that were duplicated or closed', run: Process.probeKcmpEpoll },
  timens: { neededFor: 'clocks that go on where they stopped', run: Proc.probeTimens },
  external_net_ns: { neededFor: '--external net[...]', run: () => undefined },
  clone3_set_tid: { neededFor: 'tasks with their old pids', run: Process.probeClone3SetTid },
  newifindex: { neededFor: '--external netdev[...]', run: Network.probeNewIfindex },
  nftables: { neededFor: 'network namespaces with nftables rules', run: Nftables.probeNftables },
  has_ipt_legacy: {
    neededFor: 'network namespaces with rules of legacy iptables',
    run: () => Nftables.probeLegacyIptables(hasIpv6()),
  },
  pidfd_store: { neededFor: 'descriptors of tasks', run: Memory.probePidfdStore },
  ns_pid: { neededFor: 'pid namespaces', run: Proc.probeNsPid },
  apparmor_stacking: { neededFor: 'containers with AppArmor profiles of their own', run: Proc.probeApparmorStacking },
  network_lock_nftables: { neededFor: '--network-lock nftables', run: Nftables.probeNftablesConcat },
  sockopt_buf_lock: { neededFor: 'socket buffers that still grow by themselves', run: Network.probeBufLock },
  memfd_hugetlb: { neededFor: 'memfds of huge pages', run: Memory.probeMemfdHugetlb },
  move_mount_set_group: { neededFor: 'shared and slave mounts', run: probeMoveMountSetGroup },
  openat2: { neededFor: 'opening paths of images inside a root', run: Process.probeOpenat2 },
  get_rseq_conf: { neededFor: 'programs that use rseq (all of newer C libraries)', run: Process.probeGetRseqConf },
  ipv6_freebind: { neededFor: 'IPv6 sockets bound to addresses that come later', run: Network.probeIpv6Freebind },
  pagemap_scan: { neededFor: 'fast dumps of memory', run: Memory.probePagemapScan },
  timer_cr_ids: { neededFor: 'POSIX timers with big ids', run: Memory.probeTimerCrIds },
  overlayfs_maps: { neededFor: 'mapped files of overlayfs', run: probeOverlayfsMaps },
  breakpoints: { neededFor: 'nothing here; CRIU speeds up its dumps with them', run: Process.probeBreakpoints },
  pagemap_scan_guard_pages: {
    neededFor: 'programs with guard pages (MADV_GUARD_INSTALL)',
    run: Memory.probePagemapScanGuardPages,
  },
};
