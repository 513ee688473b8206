/**
 * Copies pages of a task into a file, on all cores. write(2) to one file does not scale, for the kernel locks its inode;
 * page faults of a shared mapping do, but each costs more. So one thread reads into a buffer and writes that, and the
 * others read straight into windows of the file that they map, one after the other.
 */
import type { Program, Result } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { addressOf, syscall } from '../../linux/kernel.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import { Running, threadCount } from '../../tracee/parallel.ts';
import { type Call, type FileRange, type OnCopied, planCalls, remoteIov, tellProgress } from './remote-copy.ts';

/** What the writing thread reads at once: it is still in the cache when it is written. */
const BUFFER_BYTES = 256 << 10;
const WINDOW_BYTES = 4 << 20;
/** From this size on several threads copy. */
const PARALLEL_BYTES_MIN = 8 << 20;
/** How fast the threads are, measured on tmpfs and ext4. Only the ratio matters. */
const WRITER_SPEED = 5;
const MAPPER_SPEED = 3;

/** The task whose memory is read, and how. */
export interface Source {
  readonly pid: number;
  /**
   * A descriptor of /proc/PID/mem, for memory that is shared copy-on-write: process_vm_readv(2) pins pages, and for that
   * the kernel would give the task a copy of each (mm/gup.c gup_must_unshare()). It takes a tenth longer.
   */
  readonly memFd: number | undefined;
}

/** One call of a program and what has to come out. */
interface Expected {
  readonly call: Call;
  readonly results: readonly { readonly result: Result; readonly bytes: number }[];
}

/** Copies the runs; undefined, or what could not be copied: for want of room in the file, or of memory in the task. */
export function copyToFile(
  source: Source,
  runs: readonly FileRange[],
  fd: number,
  onCopied?: OnCopied,
): CriuError | undefined {
  const total = runs.reduce((sum, { start, end }) => sum + end - start, 0);
  return total < PARALLEL_BYTES_MIN ? copySmall(source, runs, fd) : copyBig(source, runs, total, fd, onCopied);
}

function copySmall(source: Source, runs: readonly FileRange[], fd: number): CriuError | undefined {
  if (runs.length === 0) return undefined;
  const buffer = new Uint8Array(BUFFER_BYTES);
  for (const call of planCalls(runs, BUFFER_BYTES)) {
    const copied = read(source, call, buffer);
    if (copied !== call.bytes) return notCopied(source, call, copied);
    const written = syscall(SYS.pwrite64, fd, buffer, call.bytes, call.offset);
    if (written !== call.bytes) return notCopied(source, call, written);
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

function copyBig(
  source: Source,
  runs: readonly FileRange[],
  total: number,
  fd: number,
  onCopied: OnCopied | undefined,
): CriuError | undefined {
  const [ofWriter, ...ofMappers] = shareOut(runs, shares(total, canMap(fd) ? threadCount() : 1));
  // Mappers first: their programs are short, and meanwhile the long one of the writer is made.
  const threads = [
    ...ofMappers.map((share) => startMapper(source, planCalls(share, WINDOW_BYTES), fd)),
    startWriter(source, planCalls(ofWriter ?? [], BUFFER_BYTES), fd),
  ];
  const reads = threads.map(({ thread, expected }) => ({
    thread,
    results: expected.flatMap(({ results }) => results.map(({ result }) => result)),
  }));
  tellProgress(reads, onCopied);
  for (const { window } of threads) munmap(window, WINDOW_BYTES);
  for (const { thread, expected } of threads) {
    for (const { call, results } of expected) {
      const wrong = results.find(({ result, bytes }) => thread.result(result) !== bytes);
      if (wrong !== undefined) return notCopied(source, call, thread.result(wrong.result));
    }
  }
  return undefined;
}

/** Bytes for the writer, and for each mapper. Pure. */
export function shares(total: number, threads: number): number[] {
  const speed = WRITER_SPEED + MAPPER_SPEED * (threads - 1);
  const ofMapper = Math.floor((total * MAPPER_SPEED) / speed / WINDOW_BYTES) * WINDOW_BYTES;
  const mappers = new Array<number>(threads - 1).fill(ofMapper);
  return [total - ofMapper * (threads - 1), ...mappers];
}

/** Cuts runs into consecutive parts of these sizes. Pure. */
export function shareOut(runs: readonly FileRange[], sizes: readonly number[]): FileRange[][] {
  const queue = [...runs].reverse();
  return sizes.map((size) => {
    const part: FileRange[] = [];
    for (let left = size; left > 0; ) {
      const run = queue.pop();
      if (run === undefined) break;
      const end = Math.min(run.end, run.start + left);
      part.push({ start: run.start, end, offset: run.offset });
      left -= end - run.start;
      if (end < run.end) queue.push({ start: end, end: run.end, offset: run.offset + end - run.start });
    }
    return part;
  });
}

/** Some file systems know no shared mappings that can be written to. */
function canMap(fd: number): boolean {
  const address = syscall(SYS.mmap, 0, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address < 0) return false;
  munmap(address, 1);
  return true;
}

/** A thread, the range of ours that it uses, and what it does. */
function start(add: (program: Program, window: number) => Expected[]) {
  const window = mmap(0, WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  let expected: Expected[] = [];
  const thread = new Running((program) => {
    expected = add(program, window);
  });
  return { thread, window, expected };
}

function startWriter(source: Source, calls: readonly Call[], fd: number) {
  return start((program, buffer) =>
    calls.map((call) => {
      const reads = addRead(program, source, call, buffer);
      const written = program.call(SYS.pwrite64, fd, buffer, call.bytes, call.offset);
      return { call, results: [...reads, { result: written, bytes: call.bytes }] };
    }),
  );
}

function startMapper(source: Source, calls: readonly Call[], fd: number) {
  const flags = MAP_SHARED | MAP_FIXED;
  return start((program, window) =>
    calls.map((call) => {
      program.call(SYS.mmap, window, WINDOW_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      program.call(SYS.mmap, window, call.bytes, PROT_READ | PROT_WRITE, flags, fd, call.offset);
      return { call, results: addRead(program, source, call, window) };
    }),
  );
}

function addRead(program: Program, { pid, memFd }: Source, call: Call, target: number): Expected['results'] {
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

function notCopied({ pid }: Source, { bytes, iov }: Call, result: number): CriuError {
  const where = `0x${(iov[0] ?? 0).toString(16)}`;
  const how = result < 0 ? `errno ${-result}` : `${result}`;
  return new CriuError({
    object: `task ${pid}`,
    action: `cannot copy its memory to the images: ${how} of ${bytes} bytes from ${where} on`,
  });
}
