/** Puts the pages of the images into the memory of tasks that are being built. */
import { CriuError } from '../../base/errors.ts';
import { O_RDONLY } from '../../linux/abi/fcntl.ts';
import { MAP_SHARED, PROT_READ } from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check, memoryAt, syscall } from '../../linux/kernel.ts';
import { close, fstat, open } from '../../linux/syscalls/fs.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import type { PageRun } from './pages-image.ts';

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

const IOV_MAX = 1024;
/** One call moves at most this much (MAX_RW_COUNT, include/linux/fs.h). */
const CALL_BYTES_MAX = 1 << 30;
const local = new BigUint64Array(2);
const remote = new BigUint64Array(2 * IOV_MAX);

/** Copies runs from the pages file to the task. Throws CriuError naming the address that could not be written. */
export function fillMemory(pid: number, runs: readonly PageRun[], pages: MappedFile): void {
  let from = 0;
  while (from < runs.length) {
    let count = 0;
    let bytes = 0;
    // Runs that follow each other in the file go into one call.
    for (let i = from; i < runs.length && count < IOV_MAX; i++, count++) {
      const run = runs[i];
      const first = runs[from];
      if (run === undefined || first === undefined) break;
      if (run.offset !== first.offset + bytes || (count > 0 && bytes + run.bytes > CALL_BYTES_MAX)) break;
      remote[2 * count] = BigInt(run.address);
      remote[2 * count + 1] = BigInt(run.bytes);
      bytes += run.bytes;
    }
    const start = runs[from];
    if (start === undefined) return;
    writePages(pid, start, bytes, count, pages);
    from += count;
  }
}

function writePages(pid: number, start: PageRun, bytes: number, count: number, pages: MappedFile): void {
  if (start.offset + bytes > pages.bytes) {
    throw new CriuError({
      object: pages.path,
      action: `is too short: ${pages.bytes} bytes instead of at least ${start.offset + bytes}`,
      why: 'the image is truncated',
    });
  }
  local[0] = BigInt(pages.address + start.offset);
  local[1] = BigInt(bytes);
  const put = syscall(SYS.process_vm_writev, pid, local, 1, remote, count, 0);
  check('process_vm_writev', put, `task ${pid}, 0x${start.address.toString(16)}`);
  if (put !== bytes) {
    throw new CriuError({
      object: `task ${pid}`,
      action: `cannot fill its memory: only ${put} of ${bytes} bytes from 0x${start.address.toString(16)} on could be written`,
      why: 'the page map has pages outside the mappings',
    });
  }
}
