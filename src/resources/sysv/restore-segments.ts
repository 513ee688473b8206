/**
 * System V shared memory segments of a tree that lives in criu's own ipc namespace.
 *
 * A segment that is there, with the same key, size and owner, is attached as it is: others may use it, and it is like a
 * file. One that is gone is made again with the same id and content. One marked for removal (IPC_RMID) is marked again
 * at once, so that it goes with its users whatever happens to criu; criu is one of them until the tree is complete.
 *
 * Lost: the creator (cuid, cgid, cpid) and the times.
 */
import { CriuError } from '../../base/errors.ts';
import type { IpcShmEntry } from '../../image/gen/ipc-shm.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import { O_WRONLY } from '../../linux/abi/fcntl.ts';
import { IPC_CREAT, IPC_EXCL, IPC_RMID, SHM_DEST, SHM_LOCK, SHM_LOCKED } from '../../linux/abi/ipc.ts';
import { MAP_HUGE_MASK, MAP_HUGE_SHIFT } from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../linux/kernel.ts';
import { tryWriteFile } from '../../linux/syscalls/fs.ts';
import type { RestoreTree } from '../../restore/restore-tree.ts';
import { fillObject, roundToPages } from '../mm/shared-memory.ts';
import { findAttachments, type SegmentSize } from './attach.ts';
import { type Segment, trySetSegment, tryStatSegment } from './shmid-ds.ts';

export class HostSegments {
  readonly #images: ImageDir;
  readonly #entries = new Map<number, IpcShmEntry>();
  /** Made by us and not marked for removal: to be removed when the restore fails. */
  readonly #made: number[] = [];
  /** The tree has no ipc namespace of its own. */
  readonly #isHost: boolean;
  /** Our own attachments. */
  readonly #attached: number[] = [];

  constructor(tree: RestoreTree, images: ImageDir) {
    this.#images = images;
    this.#isHost = tree.root.ids.ipc_ns_id === tree.inventory.root_ids?.ipc_ns_id;
    const used = new Set(tree.tasks.flatMap(({ special }) => findAttachments(special)).map(({ id }) => id));
    if (used.size === 0) return;
    for (const { message } of images.tryRead('ipcns-shm', tree.root.ids.ipc_ns_id ?? 0) ?? []) {
      if (used.has(message.desc.id)) this.#entries.set(message.desc.id, message);
    }
  }

  readonly sizeOf: SegmentSize = (id) => {
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    const pageBytes = pageSize(entry);
    return { bytes: Math.ceil(entry.size / pageBytes) * pageBytes, pageBytes };
  };

  /** Makes sure that all segments of the host are there. Throws CriuError. */
  prepare(): void {
    if (!this.#isHost) return;
    for (const entry of this.#entries.values()) {
      const there = tryStatSegment(entry.desc.id);
      if (typeof there !== 'number') requireSame(entry, there);
      else if (there === -ERRNO.EINVAL || there === -ERRNO.EIDRM) this.#make(entry);
      else throw failed(entry, 'shmctl', there);
    }
  }

  /** The tree is complete: what was made stays. */
  commit(): void {
    this.#made.length = 0;
  }

  [Symbol.dispose](): void {
    for (const address of this.#attached.splice(0)) syscall(SYS.shmdt, address);
    for (const id of this.#made.splice(0)) syscall(SYS.shmctl, id, IPC_RMID, 0);
  }

  #make(entry: IpcShmEntry): void {
    const { desc, size, hugetlb_flag = 0 } = entry;
    const wanted = tryWriteFile('/proc/sys/kernel/shm_next_id', String(desc.id), O_WRONLY);
    if (wanted < 0) throw failed(entry, 'write to /proc/sys/kernel/shm_next_id', wanted);
    const id = syscall(SYS.shmget, desc.key, size, (desc.mode & 0o777) | hugetlb_flag | IPC_CREAT | IPC_EXCL);
    if (id < 0) throw failed(entry, 'shmget', id);
    this.#made.push(id);
    if (id !== desc.id) throw failed(entry, `shmget gave ${id}`, -ERRNO.EEXIST);
    const set = trySetSegment(id, desc);
    if (set < 0) throw failed(entry, 'shmctl', set);
    const address = syscall(SYS.shmat, id, 0, 0);
    if (address < 0) throw failed(entry, 'shmat', address);
    this.#attached.push(address);
    fillObject(address, roundToPages(size), id, this.#images);
    if ((desc.mode & SHM_LOCKED) !== 0) check('shmctl', syscall(SYS.shmctl, id, SHM_LOCK, 0), 'SHM_LOCK');
    if ((desc.mode & SHM_DEST) === 0) return;
    check('shmctl', syscall(SYS.shmctl, id, IPC_RMID, 0), 'IPC_RMID');
    this.#made.pop();
  }
}

const PAGE_BYTES = 4096;

function pageSize({ hugetlb_flag }: IpcShmEntry): number {
  return hugetlb_flag === undefined ? PAGE_BYTES : 2 ** ((hugetlb_flag >>> MAP_HUGE_SHIFT) & MAP_HUGE_MASK);
}

function requireSame(entry: IpcShmEntry, there: Segment): void {
  const { desc, size } = entry;
  const isSame = desc.key === there.key && size === there.bytes && desc.uid === there.uid && desc.gid === there.gid;
  if (isSame) return;
  throw new CriuError({
    object: `System V shared memory segment ${desc.id}`,
    action: `cannot be attached: another one has its id (key ${there.key}, ${there.bytes} bytes, owner ${there.uid})`,
    why: `the dumped one has key ${desc.key}, ${size} bytes, owner ${desc.uid}`,
    remedy: `remove it with ipcrm --shmem-id ${desc.id}, or dump and restore in an ipc namespace`,
  });
}

function failed({ desc }: IpcShmEntry, call: string, result: number): CriuError {
  return new CriuError({
    object: `System V shared memory segment ${desc.id}`,
    action: `cannot be made again (${call}: ${errnoName(-result)})`,
    ...(result === -ERRNO.EEXIST ? { why: `another segment has its id or its key ${desc.key}` } : {}),
    ...(result === -ERRNO.ENOMEM ? { remedy: 'raise vm.nr_hugepages or kernel.shmall' } : {}),
    crErrno: -result,
  });
}
