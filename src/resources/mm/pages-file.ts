/** A pages image that is being written: pages of tasks and of shared memory, one run after the other. */
import { CriuError } from '../../base/errors.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import { PAGE_BYTES } from '../../image/pagemap.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import { O_RDONLY } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../linux/kernel.ts';
import { close, open } from '../../linux/syscalls/fs.ts';
import type { FileRange, OnCopied } from './call-plan.ts';
import { type Copy, copyToFiles, type Source } from './copy-to-file.ts';
import type { DumpRun } from './dump-pages.ts';

/** A run and where in its file it is to go. */
export interface PlacedRun extends FileRange, Pick<DumpRun, 'isProtected' | 'isInTwin'> {}

export class PagesFile {
  readonly id: number;
  readonly #fd: number;
  readonly #path: string;
  #used = 0;
  #isClosed = false;

  /** Creates pages-`id`.img. */
  constructor(images: ImageDir, id: number) {
    this.id = id;
    this.#path = images.imagePath('pages', id);
    this.#fd = images.createFile(`pages-${id}.img`);
  }

  get pages(): number {
    return this.#used / PAGE_BYTES;
  }

  /** Gives runs their places, one after the other. */
  place(runs: readonly DumpRun[]): PlacedRun[] {
    const placed: PlacedRun[] = [];
    for (const { start, end, isProtected, isInTwin } of runs) {
      placed.push({ start, end, offset: this.#used, isProtected, isInTwin });
      this.#used += end - start;
    }
    return placed;
  }

  /** Makes the file as long as all that has a place in it; returns its descriptor. */
  grow(): number {
    check('ftruncate', syscall(SYS.ftruncate, this.#fd, this.#used), this.#path);
    return this.#fd;
  }

  /** Appends bytes of ours. */
  append(bytes: Uint8Array): void {
    this.#write(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** May be done again. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    close(this.#fd);
  }

  #write(bytes: Uint8Array, offset: number): void {
    const put = check('pwrite64', syscall(SYS.pwrite64, this.#fd, bytes, bytes.length, offset), this.#path);
    if (put !== bytes.length) throw this.#noSpace();
  }

  /** Throws CriuError when the file can't have all its pages: what failed then, failed for want of them. */
  checkRoom(): void {
    if (syscall(SYS.fallocate, this.#fd, 0, 0, this.#used) === -ERRNO.ENOSPC) throw this.#noSpace();
  }

  #noSpace(): CriuError {
    return new CriuError({
      object: this.#path,
      action: `cannot make room for ${this.#used} bytes of memory pages (ENOSPC)`,
      remedy: 'free space on that file system or use another --images-dir',
    });
  }
}

/** Placed runs that are copied from a task to their file. */
export interface PageCopy {
  readonly pid: number;
  readonly file: PagesFile;
  readonly runs: readonly PlacedRun[];
  /** The task may have pages copy-on-write with others. */
  readonly isShared: boolean;
}

/**
 * Makes all copies, on all cores; `meanwhile` is done beside it, in any case. Throws CriuError when the disk is full, or the
 * memory of a task can't be read.
 */
export function copyPages(copies: readonly PageCopy[], onCopied?: OnCopied, meanwhile?: () => void): void {
  const files = new Map<Copy, PagesFile>();
  try {
    for (const { pid, file, runs, isShared } of copies) {
      if (runs.length === 0) continue;
      const fd = file.grow();
      files.set({ source: openSource(pid, runs, isShared), runs, fd }, file);
    }
    const failed = copyToFiles([...files.keys()], onCopied, meanwhile);
    if (failed === undefined) return;
    files.get(failed.copy)?.checkRoom();
    throw failed.error;
  } finally {
    for (const { source } of files.keys()) if (source.memFd !== undefined) close(source.memFd);
  }
}

/** What the task itself may not read, can only be read through /proc/PID/mem. */
function openSource(pid: number, runs: readonly PlacedRun[], isShared: boolean): Source {
  const needsMem = isShared || runs.some(({ isProtected }) => isProtected);
  return { pid, memFd: needsMem ? open(`/proc/${pid}/mem`, O_RDONLY) : undefined };
}
