/**
 * Memory objects without a name in any file system that a dumped tree has open or mapped: memfds (man 2 memfd_create),
 * shared anonymous memory, huge pages of either. Each is written once, whoever uses it, to memfd.img and pagemap-shmem.
 */
import type { MemfdInodeEntry } from '../../../image/gen/memfd.ts';
import { F_GET_SEALS, F_SEAL_SEAL, O_RDONLY } from '../../../linux/abi/fcntl.ts';
import { MAP_HUGE_SHIFT, MFD_HUGETLB } from '../../../linux/abi/mman.ts';
import { HUGETLBFS_MAGIC } from '../../../linux/abi/statfs.ts';
import { close, fcntl, fstatfsBlockBytes, open } from '../../../linux/syscalls/fs.ts';
import type { MemoryObject } from '../../mm/dump-shared.ts';
import type { KindDump, OpenFile } from '../file-kind.ts';

interface Inode {
  readonly entry: MemfdInodeEntry;
  /** Ours, for reading. */
  readonly fd: number;
}

/** The objects of a dump. */
export function memfdInodes(dump: KindDump): MemfdInodes {
  return dump.state('memfd inodes', () => {
    const inodes = new MemfdInodes();
    dump.addImage((images) => {
      if (inodes.entries.length > 0) images.write('memfd', undefined, [...inodes.entries]);
      inodes.release();
    });
    dump.onRollback(() => inodes.release());
    return inodes;
  });
}

class MemfdInodes {
  readonly #inodes = new Map<string, Inode>();
  #isReleased = false;

  /** The number of the object behind a file. Throws SyscallError. */
  identify(file: OpenFile): number {
    const { stat } = file;
    const key = `${stat.st_dev} ${stat.st_ino}`;
    const known = this.#inodes.get(key);
    if (known !== undefined) return known.entry.inode_id;
    // The descriptor of the task may be one for writing only, or O_PATH.
    const fd = open(`/proc/self/fd/${file.localFd}`, O_RDONLY);
    const seals = fcntl(fd, F_GET_SEALS);
    const entry: MemfdInodeEntry = {
      name: nameOf(file.link),
      uid: stat.st_uid,
      gid: stat.st_gid,
      size: stat.st_size,
      shmid: this.#freeShmid(stat.st_ino),
      // Before Linux 4.16 memfds of huge pages could not be sealed (EINVAL).
      seals: seals < 0 ? F_SEAL_SEAL : seals,
      inode_id: this.#inodes.size + 1,
      mode: stat.st_mode,
    };
    if (file.fsType === HUGETLBFS_MAGIC)
      entry.hugetlb_flag = MFD_HUGETLB | (Math.log2(fstatfsBlockBytes(fd)) << MAP_HUGE_SHIFT);
    this.#inodes.set(key, { entry, fd });
    return entry.inode_id;
  }

  get entries(): readonly MemfdInodeEntry[] {
    return [...this.#inodes.values()].map(({ entry }) => entry);
  }

  /** What is to be written. The descriptors are ours until `release`. */
  get objects(): MemoryObject[] {
    return [...this.#inodes.values()].map(({ entry, fd }) => ({
      fd,
      shmid: entry.shmid,
      bytes: entry.size,
      isHuge: entry.hugetlb_flag !== undefined,
    }));
  }

  /** Gives other numbers to objects whose image would have the name of another one's. */
  avoid(shmids: ReadonlySet<number>): void {
    for (const { entry } of this.#inodes.values()) {
      if (shmids.has(entry.shmid)) entry.shmid = this.#freeShmid(entry.shmid, shmids);
    }
  }

  release(): void {
    if (!this.#isReleased) for (const { fd } of this.#inodes.values()) close(fd);
    this.#isReleased = true;
  }

  /** Numbers of inodes are unique in one file system only; each size of huge pages has a file system of its own. */
  #freeShmid(wanted: number, others?: ReadonlySet<number>): number {
    const used = new Set(this.entries.map(({ shmid }) => shmid));
    let shmid = wanted % SHMID_MAX;
    while (used.has(shmid) || others?.has(shmid) === true) shmid = (shmid + SHMID_STEP) % SHMID_MAX;
    return shmid;
  }
}

const SHMID_MAX = 2 ** 32;
/** Far from the numbers that inodes and System V segments have. */
const SHMID_STEP = 0x1000_0001;

const PREFIX = '/memfd:';
const DELETED = ' (deleted)';

function nameOf(link: string): string {
  const path = link.endsWith(DELETED) ? link.slice(0, -DELETED.length) : link;
  return path.startsWith(PREFIX) ? path.slice(PREFIX.length) : path;
}
