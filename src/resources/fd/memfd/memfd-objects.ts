/**
 * Memory objects of a restore: made and filled by the controller before any task exists; the tasks open or fetch them.
 * Shared anonymous memory is made the way programs make it, so that it has its usual name in /proc/PID/maps.
 *
 * Lost: times of the inode.
 */
import { CriuError } from '../../../base/errors.ts';
import type { MemfdInodeEntry } from '../../../image/gen/memfd.ts';
import type { ImageDir } from '../../../image/image-dir.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import {
  F_ADD_SEALS,
  F_SEAL_EXEC,
  F_SEAL_FUTURE_WRITE,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  O_CLOEXEC,
  O_RDWR,
} from '../../../linux/abi/fcntl.ts';
import {
  MAP_ANONYMOUS,
  MAP_HUGE_MASK,
  MAP_HUGE_SHIFT,
  MAP_HUGETLB,
  MAP_SHARED,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_EXEC,
  MFD_NOEXEC_SEAL,
  PROT_READ,
  PROT_WRITE,
} from '../../../linux/abi/mman.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, cString, syscall } from '../../../linux/kernel.ts';
import { close, fcntl, open } from '../../../linux/syscalls/fs.ts';
import { munmap } from '../../../linux/syscalls/mm.ts';
import { fillObject, roundToPages } from '../../mm/shared-memory.ts';
import type { RestoreContext } from '../file-kind.ts';

/** The objects of a restore. */
export const memfdObjects = (context: RestoreContext): MemfdObjects =>
  context.state('memfd objects', () => new MemfdObjects(context.images));

export class MemfdObjects {
  readonly #images: ImageDir;
  readonly #entries: ReadonlyMap<number, MemfdInodeEntry>;
  readonly #fds = new Map<number, number>();
  readonly #taken = new Set<number>();
  #pages = 0;

  constructor(images: ImageDir) {
    this.#images = images;
    this.#entries = new Map((images.tryRead('memfd') ?? []).map((entry) => [entry.inode_id, entry]));
  }

  /** Pages of content that were put into the objects. */
  get pagesWritten(): number {
    return this.#pages;
  }

  find(inodeId: number): MemfdInodeEntry | undefined {
    return this.#entries.get(inodeId);
  }

  /** Makes all objects. Throws CriuError. */
  create(): void {
    for (const entry of this.#entries.values()) checkSeals(entry);
    for (const [id, entry] of this.#entries) {
      const { fd, address, bytes } = makeObject(entry);
      this.#fds.set(id, fd);
      if (bytes === 0) continue;
      try {
        this.#pages += fillObject(address, bytes, entry.shmid, this.#images);
      } finally {
        munmap(address, bytes);
      }
      setOwner(fd, entry);
    }
  }

  /** The controller's descriptor of an object. */
  descriptor(inodeId: number): number {
    const fd = this.#fds.get(inodeId);
    if (fd === undefined) throw new RangeError(`memory object ${inodeId} was made`);
    return fd;
  }

  /**
   * True once per object: the first description of it may be the one that memfd_create made. Only through that one can
   * the memfd be executed while it is open for writing (the others count in i_writecount, so execve says ETXTBSY).
   */
  takeOriginal(inodeId: number): boolean {
    if (this.#taken.has(inodeId)) return false;
    this.#taken.add(inodeId);
    return true;
  }

  /** Adds the seals: when everything is mapped, since F_SEAL_FUTURE_WRITE forbids new writable mappings. */
  seal(): void {
    for (const [id, { seals, name }] of this.#entries) {
      if (seals === F_SEAL_SEAL || seals === 0) continue;
      const result = fcntl(this.descriptor(id), F_ADD_SEALS, seals);
      if (result < 0 && result !== -ERRNO.EPERM) check('fcntl', result, `F_ADD_SEALS, memfd:${name}`);
    }
  }

  release(): void {
    for (const fd of this.#fds.values()) close(fd);
    this.#fds.clear();
  }
}

const SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC;

function checkSeals({ name, seals }: MemfdInodeEntry): void {
  const unknown = (seals & ~SEALS) >>> 0;
  if (unknown === 0) return;
  const why = `memfd.img has seals for it that are not known: 0x${unknown.toString(16)}`;
  throw new CriuError({ object: `memfd:${name}`, action: 'cannot be restored', why });
}

interface MadeObject {
  readonly fd: number;
  /** Where it is mapped in the controller. */
  readonly address: number;
  readonly bytes: number;
}

const RW = PROT_READ | PROT_WRITE;

function makeObject(entry: MemfdInodeEntry): MadeObject {
  const bytes = roundToPages(entry.size);
  const hugeSize = (entry.hugetlb_flag ?? 0) & (MAP_HUGE_MASK << MAP_HUGE_SHIFT);
  const isHuge = entry.hugetlb_flag !== undefined;
  const isAnonymous = isHuge ? entry.name === '/anon_hugepage' : entry.name === '/dev/zero';
  if (isAnonymous && bytes > 0) {
    const flags = MAP_SHARED | MAP_ANONYMOUS | (isHuge ? MAP_HUGETLB | hugeSize : 0);
    const address = mapObject(entry, bytes, flags, -1);
    const range = `${address.toString(16)}-${(address + bytes).toString(16)}`;
    return { fd: open(`/proc/self/map_files/${range}`, O_RDWR | O_CLOEXEC), address, bytes };
  }
  const fd = createMemfd(entry);
  if (bytes === 0) return { fd, address: 0, bytes };
  check('ftruncate', syscall(SYS.ftruncate, fd, entry.size), `memfd:${entry.name}`);
  return { fd, address: mapObject(entry, bytes, MAP_SHARED, fd), bytes };
}

function mapObject({ name, hugetlb_flag }: MemfdInodeEntry, bytes: number, flags: number, fd: number): number {
  const address = syscall(SYS.mmap, 0, bytes, RW, flags, fd, 0);
  if (address !== -ERRNO.ENOMEM || hugetlb_flag === undefined) return check('mmap', address, `memfd:${name}`);
  throw new CriuError({
    object: `shared memory ${name}`,
    action: `cannot be made: ${bytes} bytes of huge pages are not free (mmap: ENOMEM)`,
    remedy: 'raise vm.nr_hugepages, or the limit of the hugetlb cgroup',
    crErrno: ERRNO.ENOMEM,
  });
}

/** Executable or not is told explicitly, so that the sysctl vm.memfd_noexec does not matter; before Linux 6.3 it can't be. */
function createMemfd(entry: MemfdInodeEntry): number {
  const { name, seals, hugetlb_flag = 0, mode = 0o777 } = entry;
  const isSealable = (seals & F_SEAL_SEAL) === 0 || seals !== F_SEAL_SEAL;
  const base = MFD_CLOEXEC | hugetlb_flag | (isSealable ? MFD_ALLOW_SEALING : 0);
  const isNoexec = (seals & F_SEAL_EXEC) !== 0 && (mode & 0o111) === 0;
  const path = cString(name);
  let fd = syscall(SYS.memfd_create, path, base | (isNoexec ? MFD_NOEXEC_SEAL : MFD_EXEC));
  if (fd === -ERRNO.EINVAL) fd = syscall(SYS.memfd_create, path, base);
  if (fd >= 0) return fd;
  throw new CriuError({
    object: `memfd:${name}`,
    action: `cannot be made (memfd_create: ${errnoName(-fd)})`,
    ...(fd === -ERRNO.EACCES ? { remedy: 'set sysctl vm.memfd_noexec to 0 or 1' } : {}),
    crErrno: -fd,
  });
}

function setOwner(fd: number, { uid, gid, mode, name }: MemfdInodeEntry): void {
  check('fchown', syscall(SYS.fchown, fd, uid, gid), `memfd:${name}`);
  if (mode !== undefined) check('fchmod', syscall(SYS.fchmod, fd, mode & 0o7777), `memfd:${name}`);
}
