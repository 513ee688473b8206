/**
 * Copies pages of tasks into files, on all cores. write(2) locks the inode of its file, so several threads that write to
 * one file only wait for each other: every thread has files of its own. It reads a piece into a buffer that stays in the
 * processor's cache, and writes that.
 */
import type { Program, Result } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { addressOf, syscall } from '../../linux/kernel.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import { Running, threadCount } from '../../tracee/parallel.ts';
import { type Call, type FileRange, type OnCopied, planCalls, remoteIov, tellProgress } from './remote-copy.ts';

/** What a thread reads at once: it is still in the cache when it is written. */
const BUFFER_BYTES = 256 << 10;
/** From this size on threads copy. */
const THREADS_BYTES_MIN = 8 << 20;

/** The task whose memory is read, and how. */
export interface Source {
  readonly pid: number;
  /**
   * A descriptor of /proc/PID/mem, for memory that is shared copy-on-write: process_vm_readv(2) pins pages, and for that
   * the kernel would give the task a copy of each (mm/gup.c gup_must_unshare()). It takes a tenth longer.
   */
  readonly memFd: number | undefined;
}

/** Runs of a task and the file that they go to. */
export interface Copy {
  readonly source: Source;
  readonly runs: readonly FileRange[];
  readonly fd: number;
}

/** The first copy that went wrong: for want of room in the file, or of memory in the task. */
export interface FailedCopy {
  readonly copy: Copy;
  readonly error: CriuError;
}

/** Copies all runs. `onCopied` is told about big amounts only. */
export function copyToFiles(copies: readonly Copy[], onCopied?: OnCopied): FailedCopy | undefined {
  const total = copies.reduce((sum, { runs }) => sum + bytesOf(runs), 0);
  return total < THREADS_BYTES_MIN ? copySmall(copies) : copyBig(copies, onCopied);
}

const bytesOf = (runs: readonly FileRange[]) => runs.reduce((sum, { start, end }) => sum + end - start, 0);

function copySmall(copies: readonly Copy[]): FailedCopy | undefined {
  const buffer = new Uint8Array(BUFFER_BYTES);
  for (const copy of copies) {
    for (const call of planCalls(copy.runs, BUFFER_BYTES)) {
      const copied = read(copy.source, call, buffer);
      if (copied !== call.bytes) return notCopied(copy, call, copied);
      const written = syscall(SYS.pwrite64, copy.fd, buffer, call.bytes, call.offset);
      if (written !== call.bytes) return notCopied(copy, call, written);
    }
  }
  return undefined;
}

function read({ pid, memFd }: Source, call: Call, buffer: Uint8Array): number {
  if (memFd === undefined) {
    const local = BigUint64Array.of(BigInt(addressOf(buffer)), BigInt(call.bytes));
    return syscall(SYS.process_vm_readv, pid, local, 1, remoteIov(call), call.iov.length / 2, 0);
  }
  let done = 0;
  for (const [address, bytes] of segments(call)) {
    const got = syscall(SYS.pread64, memFd, buffer.subarray(done), bytes, address);
    if (got !== bytes) return got < 0 ? got : done + got;
    done += got;
  }
  return done;
}

/** Address and length of each range of the task. */
function segments({ iov }: Call): [address: number, bytes: number][] {
  return Array.from({ length: iov.length / 2 }, (_, i) => [iov[2 * i] ?? 0, iov[2 * i + 1] ?? 0]);
}

function copyBig(copies: readonly Copy[], onCopied: OnCopied | undefined): FailedCopy | undefined {
  const lanes = shareOut(copies, threadCount()).map(startLane);
  tellProgress(
    lanes.map(({ thread, done }) => ({ thread, results: done.map(({ written }) => written) })),
    onCopied,
  );
  for (const { buffer } of lanes) munmap(buffer, BUFFER_BYTES);
  for (const { thread, done } of lanes) {
    for (const { copy, call, reads, written } of done) {
      const wrong = reads.find(({ result, bytes }) => thread.result(result) !== bytes);
      if (wrong !== undefined) return notCopied(copy, call, thread.result(wrong.result));
      if (thread.result(written) !== call.bytes) return notCopied(copy, call, thread.result(written));
    }
  }
  return undefined;
}

/** Copies for each thread: none writes to a file of another, and all have about the same to do. Pure. */
export function shareOut(copies: readonly Copy[], threads: number): Copy[][] {
  const files = [...Map.groupBy(copies, ({ fd }) => fd).values()].map((ofFile) => ({
    ofFile,
    bytes: ofFile.reduce((sum, { runs }) => sum + bytesOf(runs), 0),
  }));
  const lanes = Array.from({ length: Math.min(threads, files.length) }, () => ({ copies: [] as Copy[], bytes: 0 }));
  for (const { ofFile, bytes } of files.sort((a, b) => b.bytes - a.bytes)) {
    const lane = lanes.reduce((least, one) => (one.bytes < least.bytes ? one : least));
    lane.copies.push(...ofFile);
    lane.bytes += bytes;
  }
  return lanes.map((lane) => lane.copies);
}

/** A piece of a copy: what its calls return when all is well. */
interface Piece {
  readonly copy: Copy;
  readonly call: Call;
  readonly reads: readonly { readonly result: Result; readonly bytes: number }[];
  readonly written: Result;
}

/** A thread, the buffer that it uses, and what it does. */
function startLane(copies: readonly Copy[]) {
  const buffer = mmap(0, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const done: Piece[] = [];
  const thread = new Running((program) => {
    for (const copy of copies) {
      for (const call of planCalls(copy.runs, BUFFER_BYTES)) {
        const reads = addRead(program, copy.source, call, buffer);
        const written = program.call(SYS.pwrite64, copy.fd, buffer, call.bytes, call.offset);
        done.push({ copy, call, reads, written });
      }
    }
  });
  return { thread, buffer, done };
}

function addRead(program: Program, { pid, memFd }: Source, call: Call, target: number): Piece['reads'] {
  if (memFd === undefined) {
    const [local, remote] = [program.words(target, call.bytes), program.words(...call.iov)];
    const result = program.call(SYS.process_vm_readv, pid, local, 1, remote, call.iov.length / 2, 0);
    return [{ result, bytes: call.bytes }];
  }
  let done = 0;
  return segments(call).map(([address, bytes]) => {
    const result = program.call(SYS.pread64, memFd, target + done, bytes, address);
    done += bytes;
    return { result, bytes };
  });
}

function notCopied(copy: Copy, { bytes, iov }: Call, result: number): FailedCopy {
  const where = `0x${(iov[0] ?? 0).toString(16)}`;
  const how = result < 0 ? `errno ${-result}` : `${result}`;
  const action = `cannot copy its memory to the images: ${how} of ${bytes} bytes from ${where} on`;
  return { copy, error: new CriuError({ object: `task ${copy.source.pid}`, action }) };
}
