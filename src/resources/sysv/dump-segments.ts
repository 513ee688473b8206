/**
 * System V shared memory (man 7 sysvipc) that a tree has attached, when it lives in criu's own ipc namespace: what the
 * segments are, and their content. CRIU refuses such trees.
 *
 * A segment outlives its users unless it is marked for removal. So on restore it is mostly there still, and is taken as it
 * is, like a file; see restore-segments.ts. The content is for when it is gone.
 */

import type { CriuErrorFields } from '../../base/errors.ts';
import type { FrozenTask } from '../../dump/frozen-tree.ts';
import type { TaskKobjIdsEntry } from '../../image/gen/core.ts';
import type { IpcShmEntry } from '../../image/gen/ipc-shm.ts';
import { VMA_AREA_SYSVIPC } from '../../image/vma-status.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import { O_RDONLY } from '../../linux/abi/fcntl.ts';
import { SHM_HUGETLB } from '../../linux/abi/ipc.ts';
import { MAP_HUGE_SHIFT } from '../../linux/abi/mman.ts';
import { close, tryOpen } from '../../linux/syscalls/fs.ts';
import type { MemoryObject } from '../mm/dump-shared.ts';
import type { DescribedVma } from '../mm/dump-vmas.ts';
import { tryStatSegment } from './shmid-ds.ts';

interface Looked {
  readonly task: FrozenTask;
  readonly special: readonly DescribedVma[];
  readonly ids: TaskKobjIdsEntry;
}

/** The segments of a dump. */
export class DumpedSegments {
  readonly entries: IpcShmEntry[] = [];
  readonly objects: MemoryObject[] = [];
  readonly problems: CriuErrorFields[] = [];

  /** Looks at tasks of criu's own ipc namespace, whose number is `ownNamespace`. */
  constructor(looked: readonly Looked[], ownNamespace: number | undefined) {
    const seen = new Set<number>();
    for (const { task, special, ids } of looked) {
      if (ids.ipc_ns_id !== ownNamespace) continue;
      for (const vma of special) {
        if ((vma.entry.status & VMA_AREA_SYSVIPC) === 0 || seen.has(vma.entry.shmid)) continue;
        seen.add(vma.entry.shmid);
        this.#add(task, vma);
      }
    }
  }

  /** The numbers of the segments. */
  get ids(): ReadonlySet<number> {
    return new Set(this.entries.map(({ desc }) => desc.id));
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.objects.splice(0)) close(fd);
  }

  #add(task: FrozenTask, { entry, seen }: DescribedVma): void {
    const id = entry.shmid;
    const object = `${task.label}: System V shared memory segment ${id}`;
    const segment = tryStatSegment(id);
    const range = `${seen.start.toString(16)}-${seen.end.toString(16)}`;
    const fd = tryOpen(`/proc/${task.pid}/map_files/${range}`, O_RDONLY);
    if (typeof segment === 'number' || fd < 0) {
      const [call, errno] = typeof segment === 'number' ? ['shmctl', -segment] : ['open', -fd];
      if (fd >= 0) close(fd);
      this.problems.push({ object, action: `cannot be dumped (${call}: ${errnoName(errno)})` });
      return;
    }
    const { key, uid, gid, cuid, cgid, mode, bytes } = segment;
    const isHuge = seen.vmFlags.has('ht');
    const hugetlb_flag = SHM_HUGETLB | (Math.log2(seen.kernelPageSizeKb * 1024) << MAP_HUGE_SHIFT);
    const desc = { key, uid, gid, cuid, cgid, mode, id };
    this.entries.push({ desc, size: bytes, in_pagemaps: true, ...(isHuge ? { hugetlb_flag } : {}) });
    this.objects.push({ fd, shmid: id, bytes, isHuge });
  }
}
