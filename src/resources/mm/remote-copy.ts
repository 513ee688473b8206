/**
 * Copies between memory of ours and memory of tasks (man 2 process_vm_readv): many ranges of the task, one after the
 * other in ours; big amounts by several threads at once.
 */
import type { Result } from '../../agent/program.ts';
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

export type Direction = 'from-task' | 'to-task';
const NUMBER = { 'from-task': SYS.process_vm_readv, 'to-task': SYS.process_vm_writev } as const;
const NAME = { 'from-task': 'process_vm_readv', 'to-task': 'process_vm_writev' } as const;

/** One system call: address and length pairs of the task, for one range of ours. */
interface Call {
  readonly local: number;
  bytes: number;
  readonly iov: number[];
}

/** Collects ranges, then copies them. */
export class RemoteCopy {
  readonly #calls: Call[] = [];

  /** Adds a range of the task and the address of the same bytes in our memory. */
  add({ start, end }: Range, local: number): void {
    for (let at = start; at < end; ) {
      const target = local + at - start;
      let call = this.#calls.at(-1);
      const follows = call !== undefined && call.local + call.bytes === target && call.iov.length < 2 * IOV_MAX;
      if (call === undefined || !follows || call.bytes >= CALL_BYTES_MAX) {
        call = { local: target, bytes: 0, iov: [] };
        this.#calls.push(call);
      }
      const bytes = Math.min(end - at, CALL_BYTES_MAX - call.bytes);
      call.iov.push(at, bytes);
      call.bytes += bytes;
      at += bytes;
    }
  }

  /** Copies everything. Throws CriuError or SyscallError naming the task and the address that failed. */
  run(direction: Direction, pid: number, onCopied?: OnCopied): void {
    const total = this.#calls.reduce((sum, { bytes }) => sum + bytes, 0);
    if (total < PARALLEL_BYTES_MIN) for (const call of this.#calls) copyOne(direction, pid, call);
    else copyParallel(direction, pid, this.#calls, onCopied);
  }
}

function copyOne(direction: Direction, pid: number, call: Call): void {
  const local = BigUint64Array.of(BigInt(call.local), BigInt(call.bytes));
  const remote = new BigUint64Array(call.iov.length);
  for (let i = 0; i < remote.length; i++) remote[i] = BigInt(call.iov[i] ?? 0);
  checkCopied(direction, pid, call, syscall(NUMBER[direction], pid, local, 1, remote, call.iov.length / 2, 0));
}

/** Each thread takes the next call in turn. */
function copyParallel(direction: Direction, pid: number, calls: readonly Call[], onCopied?: OnCopied): void {
  const count = threadCount();
  const shares = Array.from({ length: count }, (_, thread) => calls.filter((_call, i) => i % count === thread));
  const threads = shares.map((share) => {
    const results: [Call, Result][] = [];
    const thread = new Running((program) => {
      for (const call of share) {
        const [local, remote] = [program.words(call.local, call.bytes), program.words(...call.iov)];
        results.push([call, program.call(NUMBER[direction], pid, local, 1, remote, call.iov.length / 2, 0)]);
      }
    });
    return { thread, results };
  });
  let told = 0;
  const tell = () => {
    const done = threads.flatMap(({ thread, results }) =>
      results.map(([, result]) => Math.max(thread.result(result), 0)),
    );
    const bytes = done.reduce((sum, some) => sum + some, 0);
    onCopied?.(bytes - told);
    told = bytes;
  };
  for (const { thread } of threads) thread.join(onCopied === undefined ? undefined : tell);
  for (const { thread, results } of threads) {
    for (const [call, result] of results) checkCopied(direction, pid, call, thread.result(result));
  }
}

function checkCopied(direction: Direction, pid: number, { bytes, iov }: Call, copied: number): void {
  const where = `0x${(iov[0] ?? 0).toString(16)}`;
  check(NAME[direction], copied, `task ${pid}, ${where}`);
  if (copied === bytes) return;
  throw new CriuError({
    object: `task ${pid}`,
    action: `cannot ${direction === 'from-task' ? 'read' : 'fill'} its memory: ${copied} of ${bytes} bytes from ${where} on`,
  });
}
