/** Puts the pages of the images into the memory of tasks that are being built. */
import { CriuError } from '../../base/errors.ts';
import { O_RDONLY } from '../../linux/abi/fcntl.ts';
import { MAP_SHARED, PROT_READ } from '../../linux/abi/mman.ts';
import { memoryAt } from '../../linux/kernel.ts';
import { close, fstat, open } from '../../linux/syscalls/fs.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import type { PageRun } from './pages-image.ts';
import { copyToTask, type FileRange, type OnCopied } from './remote-copy.ts';

/** A pages file, mapped into our memory. */
export class MappedFile {
  readonly address: number;
  readonly bytes: number;
  readonly path: string;

  /** Throws SyscallError naming the path. */
  constructor(path: string) {
    this.path = path;
    const fd = open(path, O_RDONLY);
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

/** Copies runs from the pages file to the task. Throws CriuError naming the address that could not be written. */
export function fillMemory(pid: number, runs: readonly PageRun[], pages: MappedFile, onCopied?: OnCopied): void {
  const ranges: FileRange[] = [];
  for (const { address, bytes, offset } of runs) {
    if (offset + bytes > pages.bytes) {
      throw new CriuError({
        object: pages.path,
        action: `is too short: ${pages.bytes} bytes instead of at least ${offset + bytes}`,
        why: 'the image is truncated',
      });
    }
    ranges.push({ start: address, end: address + bytes, offset });
  }
  copyToTask(pid, ranges, pages.address, onCopied);
}
