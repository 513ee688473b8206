/** Probes of memory: pagemap, userfaultfd, AIO rings, special mappings, memfd (man 2 ioctl_userfaultfd, io_setup, prctl). */
import { ERRNO } from '../linux/abi/errno.ts';
import { O_CLOEXEC, O_NONBLOCK, O_RDONLY } from '../linux/abi/fcntl.ts';
import {
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MFD_CLOEXEC,
  MFD_HUGETLB,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_READ,
  PROT_WRITE,
} from '../linux/abi/mman.ts';
import * as PM from '../linux/abi/pagemap.ts';
import {
  ARCH_MAP_VDSO_32,
  PR_GET_TID_ADDRESS,
  PR_SET_MM,
  PR_SET_MM_MAP_SIZE,
  PR_TIMER_CREATE_RESTORE_IDS,
  PR_TIMER_CREATE_RESTORE_IDS_GET,
} from '../linux/abi/prctl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import * as UFFD from '../linux/abi/userfaultfd.ts';
import { addressOf, cString, syscall } from '../linux/kernel.ts';
import { close, ioctl, open, pread, readFile } from '../linux/syscalls/fs.ts';
import { memoryAt, mmap, munmap } from '../linux/syscalls/mm.ts';
import { getpid, tryPidfdGetfd } from '../linux/syscalls/process.ts';
import { parseMaps } from '../proc/maps.ts';
import { failed, type Missing } from './probe.ts';

const PAGE = 4096;

/** Calls `use` with the address of a fresh page of our own. */
function withPage(use: (page: number) => Missing): Missing {
  const page = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  try {
    return use(page);
  } finally {
    munmap(page, PAGE);
  }
}

/** A written page of a new mapping is soft-dirty, without any clear_refs before (mm/mmap.c, VM_SOFTDIRTY). */
export function probeMemDirtyTrack(): Missing {
  return withPage((page) => {
    memoryAt(page, PAGE)[0] = 1;
    const entry = new BigUint64Array(1);
    const fd = open('/proc/self/pagemap', O_RDONLY);
    pread(fd, new Uint8Array(entry.buffer), (page / PAGE) * 8);
    close(fd);
    const isDirty = ((entry[0] ?? 0n) >> BigInt(PM.PM_SOFT_DIRTY_BIT)) & 1n;
    return isDirty === 1n ? undefined : 'the kernel does not track written pages (CONFIG_MEM_SOFT_DIRTY)';
  });
}

/** PAGEMAP_SCAN of an empty range, which checks the categories all the same. */
function scanPagemap(categories: number): number {
  const arg = new BigUint64Array(PM.PM_SCAN_ARG.bytes / 8);
  arg[PM.PM_SCAN_ARG.size / 8] = BigInt(PM.PM_SCAN_ARG.bytes);
  arg[PM.PM_SCAN_ARG.category_anyof_mask / 8] = BigInt(PM.PAGE_IS_PRESENT | PM.PAGE_IS_SWAPPED);
  arg[PM.PM_SCAN_ARG.return_mask / 8] = BigInt(categories);
  const fd = open('/proc/self/pagemap', O_RDONLY);
  const result = ioctl(fd, PM.PAGEMAP_SCAN, arg);
  close(fd);
  return result;
}

/** PAGEMAP_SCAN (6.7). */
export function probePagemapScan(): Missing {
  return failed('ioctl(PAGEMAP_SCAN)', scanPagemap(PM.PAGE_IS_PRESENT | PM.PAGE_IS_SWAPPED | PM.PAGE_IS_SOFT_DIRTY));
}

/** PAGEMAP_SCAN tells guard pages (6.16), which otherwise look like swapped pages. */
export function probePagemapScanGuardPages(): Missing {
  return failed('ioctl(PAGEMAP_SCAN) with PAGE_IS_GUARD', scanPagemap(PM.PAGE_IS_PRESENT | PM.PAGE_IS_GUARD));
}

/** userfaultfd(2) may be used; returns the features, or what is missing. */
function openUserfaultfd(): bigint | string {
  const fd = syscall(SYS.userfaultfd, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return failed('userfaultfd', fd) ?? '';
  const api = BigUint64Array.of(BigInt(UFFD.UFFD_API), 0n, 0n);
  const result = ioctl(fd, UFFD.UFFDIO_API, api);
  close(fd);
  return result < 0 ? (failed('ioctl(UFFDIO_API)', result) ?? '') : (api[1] ?? 0n);
}

export function probeUffd(): Missing {
  const features = openUserfaultfd();
  return typeof features === 'string' ? features : undefined;
}

/** Events of fork, mremap, madvise and munmap (4.11). */
export function probeUffdNoncoop(): Missing {
  const features = openUserfaultfd();
  if (typeof features === 'string') return features;
  const needed =
    UFFD.UFFD_FEATURE_EVENT_FORK |
    UFFD.UFFD_FEATURE_EVENT_REMAP |
    UFFD.UFFD_FEATURE_EVENT_REMOVE |
    UFFD.UFFD_FEATURE_EVENT_UNMAP;
  return (Number(features) & needed) === needed ? undefined : 'userfaultfd reports no fork, mremap and munmap';
}

/** An AIO ring that was moved by mremap is still found (3.19). */
export function probeAioRemap(): Missing {
  const context = new BigUint64Array(1);
  const made = syscall(SYS.io_setup, 16, context);
  if (made < 0) return failed('io_setup', made);
  const ring = Number(context[0] ?? 0n);
  const mapping = parseMaps(readFile('/proc/self/maps')).find(({ start }) => start === ring);
  if (mapping === undefined) return 'an AIO ring does not appear in /proc/PID/maps';
  const bytes = mapping.end - mapping.start;
  const place = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const moved = syscall(SYS.mremap, ring, bytes, bytes, MREMAP_FIXED | MREMAP_MAYMOVE, place);
  const missing =
    failed('mremap of an AIO ring', moved) ??
    failed('io_getevents of a moved AIO ring', syscall(SYS.io_getevents, place, 0, 1, 0, 0));
  syscall(SYS.io_destroy, missing === undefined ? place : ring);
  return missing;
}

/** PR_SET_MM_MAP (3.18); asks for its size only. */
export function probePrctlMmMap(): Missing {
  const size = new Uint32Array(2);
  return failed('prctl(PR_SET_MM_MAP)', syscall(SYS.prctl, PR_SET_MM, PR_SET_MM_MAP_SIZE, addressOf(size), 0, 0));
}

/** PR_GET_TID_ADDRESS (3.5, CONFIG_CHECKPOINT_RESTORE). */
export function probeTidAddress(): Missing {
  return failed('prctl(PR_GET_TID_ADDRESS)', syscall(SYS.prctl, PR_GET_TID_ADDRESS, new BigUint64Array(1)));
}

/** Timers with a given id (6.15). */
export function probeTimerCrIds(): Missing {
  const result = syscall(SYS.prctl, PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_GET, 0, 0, 0);
  return failed('prctl(PR_TIMER_CREATE_RESTORE_IDS)', result);
}

/**
 * arch_prctl(ARCH_MAP_VDSO_*) (4.8, CONFIG_CHECKPOINT_RESTORE). With a vdso already there the answer is EEXIST, and
 * nothing is mapped (arch/x86/entry/vdso/vma.c map_vdso_once()).
 */
export function probeCanMapVdso(): Missing {
  const result = syscall(SYS.arch_prctl, ARCH_MAP_VDSO_32, 0);
  return result === -ERRNO.EEXIST ? undefined : failed('arch_prctl(ARCH_MAP_VDSO_32)', result);
}

/** memfd_create with huge pages (4.14). */
export function probeMemfdHugetlb(): Missing {
  const fd = syscall(SYS.memfd_create, cString('criu-check'), MFD_HUGETLB | MFD_CLOEXEC);
  if (fd >= 0) close(fd);
  return failed('memfd_create(MFD_HUGETLB)', fd);
}

/** Memory of other tasks by process_vm_readv (3.2, CONFIG_CROSS_MEMORY_ATTACH), asked of ourselves. */
export function probeProcessVm(): Missing {
  const word = new BigUint64Array(1);
  const iov = BigUint64Array.of(BigInt(addressOf(word)), 8n);
  return failed('process_vm_readv', syscall(SYS.process_vm_readv, getpid(), iov, 1, iov, 1, 0));
}

/** pidfd_open (5.3) and pidfd_getfd (5.6). */
export function probePidfdStore(): Missing {
  const pidfd = syscall(SYS.pidfd_open, getpid(), 0);
  if (pidfd < 0) return failed('pidfd_open', pidfd);
  const fd = tryPidfdGetfd(pidfd, pidfd);
  if (fd >= 0) close(fd);
  close(pidfd);
  return failed('pidfd_getfd', fd);
}
