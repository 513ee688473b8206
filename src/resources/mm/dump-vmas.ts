/**
 * Mappings of a task: from /proc/PID/smaps to vma_entry, or why one cannot be dumped. Pure.
 *
 * What is lost: nothing that smaps shows, except protection keys in use, which are refused.
 */

import type { CriuErrorFields } from '../../base/errors.ts';
import type { VmaEntry } from '../../image/gen/vma.ts';
import {
  VMA_ANON_PRIVATE,
  VMA_ANON_SHARED,
  VMA_AREA_AIORING,
  VMA_AREA_GUARD,
  VMA_AREA_HEAP,
  VMA_AREA_MEMFD,
  VMA_AREA_REGULAR,
  VMA_AREA_SOCKET,
  VMA_AREA_SYSVIPC,
  VMA_AREA_VDSO,
  VMA_AREA_VSYSCALL,
  VMA_AREA_VVAR,
  VMA_FILE_PRIVATE,
  VMA_FILE_SHARED,
} from '../../image/vma-status.ts';
import { O_RDONLY, O_RDWR } from '../../linux/abi/fcntl.ts';
import * as MM from '../../linux/abi/mman.ts';
import type { SmapsEntry } from '../../proc/smaps.ts';
import type { Range } from './address-space.ts';
import { isPlain } from './plain-vma.ts';

/** A mapping and its image. `needsFile`: `entry.shmid` becomes the id of the mapped file. */
export interface DescribedVma {
  readonly seen: SmapsEntry;
  readonly entry: VmaEntry;
  readonly needsFile: boolean;
  readonly isPlain: boolean;
}

/** The mappings of a task. */
export interface DescribedVmas {
  readonly vmas: DescribedVma[];
  /** Those of them that are not plain: see plain-vma.ts. */
  readonly special: readonly DescribedVma[];
}

/** madvise(2) advice that VmFlags shows, by its code. */
const ADVICE: readonly [code: string, advice: number][] = [
  ['rr', MM.MADV_RANDOM],
  ['sr', MM.MADV_SEQUENTIAL],
  ['dc', MM.MADV_DONTFORK],
  ['mg', MM.MADV_MERGEABLE],
  ['hg', MM.MADV_HUGEPAGE],
  ['nh', MM.MADV_NOHUGEPAGE],
  ['dd', MM.MADV_DONTDUMP],
  ['wf', MM.MADV_WIPEONFORK],
];

const FLAGS: readonly [code: string, flag: number][] = [
  ['gd', MM.MAP_GROWSDOWN],
  ['lo', MM.MAP_LOCKED],
  ['nr', MM.MAP_NORESERVE],
  ['ht', MM.MAP_HUGETLB],
];

/** Describes all mappings of a task; problems name the mapping. `label` is the task for people. */
export function describeVmas(
  maps: readonly SmapsEntry[],
  label: string,
): DescribedVmas & { readonly problems: CriuErrorFields[] } {
  const vmas: DescribedVma[] = [];
  const special: DescribedVma[] = [];
  const problems: CriuErrorFields[] = [];
  // Of thousands of mappings most are like one of the two before: a page of data, a guard page, and so on.
  let [last, other]: (DescribedVma | undefined)[] = [];
  for (const seen of maps) {
    const alike = isAlike(seen, last?.seen) ? last : isAlike(seen, other?.seen) ? other : undefined;
    if (alike !== undefined) {
      if (alike === other) other = last;
      last = describeAlike(seen, alike);
      vmas.push(last);
      if (!last.isPlain) special.push(last);
      continue;
    }
    const problem = refuse(seen);
    if (problem !== undefined) {
      problems.push({ object: `${label}: mapping ${nameOf(seen)}`, action: 'cannot be dumped', ...problem });
      continue;
    }
    const previous = vmas[vmas.length - 1];
    // [vvar] and [vvar_vclock] (Linux 6.13) are one group in the image format.
    if (isVvar(seen) && previous !== undefined && isVvar(previous.seen) && previous.entry.end === seen.start) {
      previous.entry.end = seen.end;
      continue;
    }
    other = last;
    last = describe(seen);
    vmas.push(last);
    if (!last.isPlain) special.push(last);
  }
  return { vmas, special, problems };
}

/** Whether what is said of one holds for the other too. Sets of flags that are equal are one object. */
function isAlike(one: SmapsEntry, other: SmapsEntry | undefined): boolean {
  if (other === undefined) return false;
  if (one.kind !== undefined && one.kind === other.kind) return true;
  return (
    one.vmFlags === other.vmFlags &&
    one.prot === other.prot &&
    one.path === other.path &&
    one.offset === other.offset &&
    one.inode === other.inode &&
    one.isShared === other.isShared &&
    one.protectionKey === other.protectionKey &&
    one.kernelPageSizeKb === other.kernelPageSizeKb &&
    !isVvar(one)
  );
}

function describeAlike(seen: SmapsEntry, { entry, needsFile, isPlain }: DescribedVma): DescribedVma {
  const { start, end } = seen;
  const { pgoff, shmid, prot, flags, status, fd, madv, fdflags, lock_on_fault_ext, sealed_ext, name_ext } = entry;
  const copy = {
    start,
    end,
    pgoff,
    shmid,
    prot,
    flags,
    status,
    fd,
    madv,
    fdflags,
    lock_on_fault_ext,
    sealed_ext,
    name_ext,
  };
  return { seen, entry: copy, needsFile, isPlain };
}

const isVvar = ({ path }: SmapsEntry) => path.startsWith('[vvar');
/** Address and name, for people. */
export const nameOf = ({ start, end, rawPath }: SmapsEntry) =>
  `${start.toString(16)}-${end.toString(16)} ${rawPath}`.trim();

type Refusal = Required<Pick<CriuErrorFields, 'why' | 'remedy'>>;

const UNMAPPED = 'dump when the program has unmapped it';

function refuse({ path, vmFlags, isShared, prot, protectionKey }: SmapsEntry): Refusal | undefined {
  if (isKernelProvided(path)) return undefined;
  if (path === '[uprobes]') return { why: 'uprobes are active in the task', remedy: 'remove the uprobes first' };
  if (path.startsWith('[shadow_stack]') || vmFlags.has('ss')) {
    return { why: 'shadow stacks are not supported', remedy: 'run it with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off' };
  }
  // What speaks against a ring, its descriptor says.
  if (isIoUring(path)) return undefined;
  if (path.startsWith('anon_inode:')) return { why: `${path} is not supported`, remedy: UNMAPPED };
  if (!isSocket(path) && (vmFlags.has('pf') || vmFlags.has('io')))
    return { why: 'it is memory of a device', remedy: UNMAPPED };
  // Memory that can only be executed gets a key from the kernel (arch/x86/mm/pkeys.c), and will get one again.
  if (protectionKey !== 0 && prot !== MM.PROT_EXEC) {
    const remedy = 'run the program without such keys, if it has an option for that';
    return { why: 'it has a memory protection key (man 7 pkeys)', remedy };
  }
  if (vmFlags.has('um') || vmFlags.has('uw') || vmFlags.has('ui')) {
    return { why: 'it is registered with a userfaultfd', remedy: 'dump when the program has closed that' };
  }
  if (isShared && DEVICE.test(path)) return { why: 'it is a mapped device', remedy: UNMAPPED };
  return undefined;
}

/** A file of a device; memory has names like them. */
const DEVICE = /^\/dev\/(?!shm\/|zero$)/;

const isSocket = (path: string) => path.startsWith('socket:[');
export const isIoUring = (path: string) => path.startsWith('anon_inode:[io_uring]');
/** Memory that the kernel shares with a program by a descriptor: see ring-mappings.ts. */
const isRing = (path: string) => isSocket(path) || isIoUring(path);
const isKernelProvided = (path: string) => path === '[vdso]' || path === '[vsyscall]' || path.startsWith('[vvar');

function describe(seen: SmapsEntry): DescribedVma {
  const { start, end, vmFlags, isShared, path } = seen;
  const kind = kindOf(seen);
  const sharing = isShared ? MM.MAP_SHARED : vmFlags.has('dp') ? MM.MAP_DROPPABLE : MM.MAP_PRIVATE;
  const flags = FLAGS.reduce(
    (all, [code, flag]) => (vmFlags.has(code) ? all | flag : all),
    sharing | (kind.isAnonymous ? MM.MAP_ANONYMOUS : 0) | hugeSize(seen),
  );
  const madv = ADVICE.reduce((all, [code, advice]) => (vmFlags.has(code) ? all | (1n << BigInt(advice)) : all), 0n);
  const name = path.startsWith('[anon') ? /^\[anon(?:_shmem)?:(.*)\]$/s.exec(path)?.[1] : undefined;
  const hasFile = !kind.isAnonymous || (kind.status & VMA_AREA_SYSVIPC) !== 0;
  // Entries are of one kind for the compilers, whichever fields each of them has.
  const entry: VmaEntry = {
    start,
    end,
    pgoff: (kind.isAnonymous && !isShared) || path === AIO_RING ? 0 : seen.offset,
    shmid: kind.isAnonymous && isShared ? seen.inode : 0,
    prot: seen.prot,
    flags,
    status: kind.status,
    fd: -1,
    madv: madv === 0n ? undefined : madv,
    fdflags: !hasFile ? undefined : isShared && vmFlags.has('mw') ? O_RDWR : 0,
    lock_on_fault_ext: vmFlags.has('lf') ? true : undefined,
    sealed_ext: vmFlags.has('sl') ? true : undefined,
    name_ext: name,
  };
  const needsFile = !kind.isAnonymous && path !== AIO_RING && path !== '' && !isRing(path);
  return { seen, entry, needsFile, isPlain: isPlain(entry) };
}

const AIO_RING = '/[aio]';

/** The name of anonymous huge pages, private and shared (mm/mmap.c, HUGETLB_ANON_FILE). */
const ANON_HUGEPAGE = '/anon_hugepage';

/** log2 of the page size; for files of a mounted hugetlbfs the mount says it. */
function hugeSize({ vmFlags, path, kernelPageSizeKb }: SmapsEntry): number {
  if (!vmFlags.has('ht') || (path !== ANON_HUGEPAGE && !path.startsWith('/memfd:'))) return 0;
  return Math.log2(kernelPageSizeKb * 1024) << MM.MAP_HUGE_SHIFT;
}

/** Notes the file behind a mapping. `isMemory`: it is a memfd or shared anonymous memory. */
export function assignFile(
  { entry, seen }: DescribedVma,
  { fileId, fdflags, isMemory }: { fileId: number; fdflags: number; isMemory: boolean },
): void {
  entry.shmid = fileId;
  entry.fdflags = fdflags;
  if (!isMemory) return;
  entry.status |= VMA_AREA_MEMFD;
  // What was opened for writing may be mapped for reading only: F_SEAL_WRITE (mm/memfd.c, Linux 6.7).
  if (seen.isShared) entry.fdflags = seen.vmFlags.has('mw') ? O_RDWR : O_RDONLY;
}

function kindOf({ path, isShared, inode }: SmapsEntry): { status: number; isAnonymous: boolean } {
  if (path === '[vdso]') return { status: VMA_AREA_REGULAR | VMA_AREA_VDSO | VMA_ANON_PRIVATE, isAnonymous: true };
  if (path === '[vsyscall]') return { status: VMA_AREA_VSYSCALL | VMA_ANON_PRIVATE, isAnonymous: true };
  if (path.startsWith('[vvar'))
    return { status: VMA_AREA_REGULAR | VMA_ANON_PRIVATE | VMA_AREA_VVAR, isAnonymous: true };
  if (path === AIO_RING) return { status: VMA_AREA_AIORING, isAnonymous: false };
  if (isRing(path)) return { status: VMA_AREA_REGULAR | VMA_AREA_SOCKET, isAnonymous: false };
  if (isShared && path.startsWith('/SYSV'))
    return { status: VMA_AREA_REGULAR | VMA_AREA_SYSVIPC | VMA_ANON_SHARED, isAnonymous: true };
  if (inode === 0 || (!isShared && path === ANON_HUGEPAGE)) {
    const heap = path === '[heap]' ? VMA_AREA_HEAP : 0;
    return { status: VMA_AREA_REGULAR | heap | VMA_ANON_PRIVATE, isAnonymous: true };
  }
  return { status: VMA_AREA_REGULAR | (isShared ? VMA_FILE_SHARED : VMA_FILE_PRIVATE), isAnonymous: false };
}

/** Guard ranges (MADV_GUARD_INSTALL): kept as mappings that overlap the real ones, after all of those. */
export function guardVmas(guards: readonly Range[]): DescribedVma[] {
  return guards.map(({ start, end }) => ({
    seen: { start, end } as SmapsEntry,
    entry: {
      start,
      end,
      pgoff: 0,
      shmid: 0,
      prot: 0,
      flags: MM.MAP_PRIVATE | MM.MAP_ANONYMOUS,
      status: VMA_AREA_GUARD | VMA_ANON_PRIVATE,
      fd: -1,
    },
    needsFile: false,
    isPlain: false,
  }));
}
