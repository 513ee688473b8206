/**
 * Copies from a file that is mapped into our memory to memory of tasks (man 2 process_vm_writev), big amounts by several
 * threads at once; and what copies in the other direction need as well.
 */
import type { Program, Result } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../linux/kernel.ts';
import { Running, threadCount } from '../../tracee/parallel.ts';
import type { Range } from './address-space.ts';

/** Ranges of the task that one system call may name (UIO_MAXIOV). */
const IOV_MAX = 1024;
/** One call moves at most this much: small enough that threads share the work evenly. */
const CALL_BYTES_MAX = 4 << 20;
/** From this size on several threads copy. */
const PARALLEL_BYTES_MIN = 8 << 20;

/** Told how many bytes have been copied since it was told last. */
export type OnCopied = (bytes: number) => void;

/** A range of a task and the offset of its bytes in a file. */
export interface FileRange extends Range {
  readonly offset: number;
}

/** One system call: address and length pairs of the task, for one range of the file. */
export interface Call {
  readonly offset: number;
  bytes: number;
  readonly iov: number[];
}

/** Puts ranges together to calls of at most `bytesMax` bytes. Pure. */
export function planCalls(ranges: Iterable<FileRange>, bytesMax: number): Call[] {
  const calls: Call[] = [];
  for (const { start, end, offset } of ranges) {
    for (let at = start; at < end; ) {
      const target = offset + at - start;
      let call = calls.at(-1);
      const follows = call !== undefined && call.offset + call.bytes === target && call.iov.length < 2 * IOV_MAX;
      if (call === undefined || !follows || call.bytes >= bytesMax) {
        call = { offset: target, bytes: 0, iov: [] };
        calls.push(call);
      }
      const bytes = Math.min(end - at, bytesMax - call.bytes);
      call.iov.push(at, bytes);
      call.bytes += bytes;
      at += bytes;
    }
  }
  return calls;
}

/** The iovec array of a call. */
export function remoteIov({ iov }: Call): BigUint64Array {
  const remote = new BigUint64Array(iov.length);
  for (let i = 0; i < remote.length; i++) remote[i] = BigInt(iov[i] ?? 0);
  return remote;
}

/** The calls that copy ranges of a file to a task. Pure. */
export const planCopies = (ranges: Iterable<FileRange>): Call[] => planCalls(ranges, CALL_BYTES_MAX);

/** Copies from a file that is mapped at `address`. Throws CriuError or SyscallError naming task and address. */
export function copyToTask(pid: number, calls: readonly Call[], address: number, onCopied?: OnCopied): void {
  const total = calls.reduce((sum, { bytes }) => sum + bytes, 0);
  if (total < PARALLEL_BYTES_MIN) for (const call of calls) copyOne(pid, call, address);
  else copyParallel(pid, calls, address, onCopied);
}

function copyOne(pid: number, call: Call, address: number): void {
  const local = BigUint64Array.of(BigInt(address + call.offset), BigInt(call.bytes));
  checkCopied(pid, call, syscall(SYS.process_vm_writev, pid, local, 1, remoteIov(call), call.iov.length / 2, 0));
}

/** Each thread takes the next call in turn. */
function copyParallel(pid: number, calls: readonly Call[], address: number, onCopied: OnCopied | undefined): void {
  const count = threadCount();
  const shares = Array.from({ length: count }, (_, thread) => calls.filter((_call, i) => i % count === thread));
  const threads = shares.map((share) => {
    let results: Result[] = [];
    const thread = new Running((program) => {
      results = share.map((call) => addWrite(program, pid, call, address));
    });
    return { thread, results, share };
  });
  tellProgress(threads, onCopied);
  for (const { thread, results, share } of threads) {
    share.forEach((call, i) => {
      const result = results[i];
      if (result !== undefined) checkCopied(pid, call, thread.result(result));
    });
  }
}

function addWrite(program: Program, pid: number, call: Call, address: number): Result {
  const [local, remote] = [program.words(address + call.offset, call.bytes), program.words(...call.iov)];
  return program.call(SYS.process_vm_writev, pid, local, 1, remote, call.iov.length / 2, 0);
}

/** Waits for threads whose results are numbers of bytes, and tells how many there are so far. */
export function tellProgress(
  threads: readonly { readonly thread: Running; readonly results: readonly Result[] }[],
  onCopied: OnCopied | undefined,
): void {
  let told = 0;
  const tell = () => {
    const done = threads.flatMap(({ thread, results }) => results.map((result) => Math.max(thread.result(result), 0)));
    const bytes = done.reduce((sum, some) => sum + some, 0);
    onCopied?.(bytes - told);
    told = bytes;
  };
  for (const { thread } of threads) thread.join(onCopied === undefined ? undefined : tell);
  if (onCopied !== undefined) tell();
}

function checkCopied(pid: number, { bytes, iov }: Call, copied: number): void {
  const where = `0x${(iov[0] ?? 0).toString(16)}`;
  check('process_vm_writev', copied, `task ${pid}, ${where}`);
  if (copied === bytes) return;
  throw new CriuError({
    object: `task ${pid}`,
    action: `cannot fill its memory: ${copied} of ${bytes} bytes from ${where} on`,
  });
}
