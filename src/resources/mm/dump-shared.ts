/**
 * Shared anonymous memory: each object is written once, whoever maps it, with all pages that have content. criu maps the
 * object itself, so pages that no task has touched through its own mapping are seen too.
 */
import type { FrozenTask } from '../../dump/frozen-tree.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import { VMA_ANON_SHARED, VMA_AREA_AIORING, VMA_AREA_SYSVIPC } from '../../image/vma-status.ts';
import { O_RDONLY, SEEK_DATA, SEEK_HOLE } from '../../linux/abi/fcntl.ts';
import { MAP_SHARED, PROT_READ } from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { memoryAt, syscall } from '../../linux/kernel.ts';
import { close, fstat, open } from '../../linux/syscalls/fs.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import type { Range } from './address-space.ts';
import { PagesFile, pagemapEntries } from './dump-pages.ts';
import type { DescribedVma } from './dump-vmas.ts';

/** Writes pagemap-shmem-N and pages images, numbered from `firstId` on; returns the number of pages. */
export function dumpSharedMemory(
  tasks: readonly { task: FrozenTask; vmas: readonly DescribedVma[] }[],
  images: ImageDir,
  firstId: number,
): number {
  const seen = new Set<number>();
  let id = firstId;
  let pages = 0;
  for (const { task, vmas } of tasks) {
    for (const { entry } of vmas) {
      const { status, shmid, start, end } = entry;
      if ((status & VMA_ANON_SHARED) === 0 || (status & (VMA_AREA_SYSVIPC | VMA_AREA_AIORING)) !== 0) continue;
      if (seen.has(shmid)) continue;
      seen.add(shmid);
      pages += dumpObject(task, { start, end }, shmid, images, id++);
    }
  }
  return pages;
}

function dumpObject(task: FrozenTask, range: Range, shmid: number, images: ImageDir, id: number): number {
  const path = `/proc/${task.pid}/map_files/${range.start.toString(16)}-${range.end.toString(16)}`;
  const fd = open(path, O_RDONLY);
  try {
    const bytes = fstat(fd).st_size;
    const file = new PagesFile(images, id);
    const parts = dataRanges(fd, bytes);
    const address = mmap(0, bytes, PROT_READ, MAP_SHARED, fd, 0);
    file.reserve(parts.reduce((sum, { start, end }) => sum + end - start, 0));
    for (const { start, end } of parts) file.append(memoryAt(address + start, end - start));
    munmap(address, bytes);
    file.close();
    const entries = pagemapEntries(parts.map((part) => ({ ...part, isLazy: false, isProtected: false })));
    images.write('pagemap-shmem', shmid, { head: { pages_id: id }, entries });
    return file.pages;
  } finally {
    close(fd);
  }
}

/** Parts of a file that are not holes (man 2 lseek, SEEK_DATA). */
function dataRanges(fd: number, bytes: number): Range[] {
  const ranges: Range[] = [];
  for (let at = 0; at < bytes; ) {
    const start = syscall(SYS.lseek, fd, at, SEEK_DATA);
    if (start < 0) break;
    const end = syscall(SYS.lseek, fd, start, SEEK_HOLE);
    ranges.push({ start, end });
    at = end;
  }
  return ranges;
}
