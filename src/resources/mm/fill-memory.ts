/** Finds the pages of the images that go into the memory of tasks that are being built; remote-copy.ts copies them. */
import { CriuError } from '../../base/errors.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import { O_CLOEXEC, O_RDONLY } from '../../linux/abi/fcntl.ts';
import { MAP_SHARED, PROT_READ } from '../../linux/abi/mman.ts';
import { memoryAt } from '../../linux/kernel.ts';
import { close, fstat, tryOpen } from '../../linux/syscalls/fs.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import type { FileRange } from './call-plan.ts';
import type { PageRun } from './pages-image.ts';
import { planCopies, type TaskCopy } from './remote-copy.ts';

/** A pages file, mapped into our memory. */
export class MappedFile {
  readonly address: number;
  readonly bytes: number;
  readonly path: string;

  /** Throws CriuError when it can't be opened, and SyscallError. */
  constructor(path: string) {
    this.path = path;
    const fd = openPages(path);
    try {
      this.bytes = fstat(fd).st_size;
      this.address = this.bytes === 0 ? 0 : mmap(0, this.bytes, PROT_READ, MAP_SHARED, fd, 0);
    } finally {
      close(fd);
    }
  }

  /** A view of a part of the file. */
  view(offset: number, bytes: number): Uint8Array {
    return memoryAt(this.address + offset, bytes);
  }

  [Symbol.dispose](): void {
    if (this.bytes > 0) munmap(this.address, this.bytes);
  }
}

/** Pages files by path; each is mapped once. */
export class MappedFiles {
  readonly #files = new Map<string, MappedFile>();

  get(path: string): MappedFile {
    let file = this.#files.get(path);
    if (file === undefined) {
      file = new MappedFile(path);
      this.#files.set(path, file);
    }
    return file;
  }

  /** The bytes of a run. Throws CriuError when the file is too short. */
  view({ file: path, offset, bytes }: PageRun): Uint8Array {
    const file = this.get(path);
    checkLength(file, offset + bytes);
    return file.view(offset, bytes);
  }

  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file[Symbol.dispose]();
    this.#files.clear();
  }
}

/** A descriptor, closed by execve(2). Throws CriuError: a damaged pagemap may name a pages image that is not there. */
export function openPages(path: string): number {
  const fd = tryOpen(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) return fd;
  throw new CriuError({
    object: path,
    action: `cannot be opened: ${errnoName(-fd)}`,
    why: 'the memory content is not there',
  });
}

/** Throws CriuError when a file has less than that. */
export function checkLength({ path, bytes }: { path: string; bytes: number }, wanted: number): void {
  if (wanted <= bytes) return;
  throw new CriuError({
    object: path,
    action: `is too short: ${bytes} bytes instead of at least ${wanted}`,
    why: 'the image is truncated',
  });
}

/**
 * Plans the copying of runs from pages files to a task, which need not have the mappings yet (see `copyToTasks`). Throws
 * CriuError.
 */
export function planFilling(pid: number, runs: readonly PageRun[], files: MappedFiles): readonly TaskCopy[] {
  const byFile = new Map<string, PageRun[]>();
  for (const run of runs) {
    const others = byFile.get(run.file);
    if (others === undefined) byFile.set(run.file, [run]);
    else others.push(run);
  }
  return Array.from(byFile, ([path, ofFile]) => {
    const file = files.get(path);
    const ranges: FileRange[] = [];
    for (const { address, bytes, offset } of ofFile) {
      checkLength(file, offset + bytes);
      ranges.push({ start: address, end: address + bytes, offset });
    }
    return { pid, plan: planCopies(ranges), address: file.address };
  });
}
