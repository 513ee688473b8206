/** A pages image that is being written: pages of tasks and of shared memory, one run after the other. */
import { CriuError } from '../../base/errors.ts';
import type { ImageDir } from '../../image/image-dir.ts';
import { PAGE_BYTES } from '../../image/pagemap.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import { O_RDONLY } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../linux/kernel.ts';
import { close, open } from '../../linux/syscalls/fs.ts';
import { copyToFile } from './copy-to-file.ts';
import type { DumpRun } from './dump-pages.ts';
import type { OnCopied } from './remote-copy.ts';

/** A run and where in the file it is to go. */
export interface PlacedRun extends DumpRun {
  readonly offset: number;
}

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
    return runs.map((run) => {
      const offset = this.#used;
      this.#used += run.end - run.start;
      return { ...run, offset };
    });
  }

  /**
   * Copies placed runs from a task. `isShared`: it may have pages copy-on-write with others. Throws CriuError when the disk
   * is full, or the task's memory can't be read.
   */
  copy(pid: number, runs: readonly PlacedRun[], isShared: boolean, onCopied?: OnCopied): void {
    if (runs.length === 0) return;
    check('ftruncate', syscall(SYS.ftruncate, this.#fd, this.#used), this.#path);
    // What the task itself may not read, can only be read through that descriptor.
    const needsMem = isShared || runs.some(({ isProtected }) => isProtected);
    const memFd = needsMem ? open(`/proc/${pid}/mem`, O_RDONLY) : undefined;
    try {
      const wrong = copyToFile({ pid, memFd }, runs, this.#fd, onCopied);
      if (wrong === undefined) return;
      this.#checkRoom();
      throw wrong;
    } finally {
      if (memFd !== undefined) close(memFd);
    }
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
  #checkRoom(): void {
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
