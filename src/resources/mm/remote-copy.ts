/**
 * Copies from a file that is mapped into our memory to memory of tasks (man 2 process_vm_writev), big amounts by several
 * threads at once.
 */
import { CriuError } from '../../base/errors.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { addressOf, syscall } from '../../linux/kernel.ts';
import { Running, threadCount } from '../../tracee/parallel.ts';
import { CallPlan, type FileRange, IOV_BYTES, type OnCopied, PlannedOps, tellProgress } from './call-plan.ts';

/** One call moves at most this much, of so many ranges: small enough that threads share the work evenly. */
const CALL_BYTES_MAX = 4 << 20;
const CALL_RANGES_MAX = 256;
/** From this size on several threads copy. */
const PARALLEL_BYTES_MIN = 8 << 20;

/** The calls that copy ranges of a file to a task. Pure. */
export const planCopies = (ranges: readonly FileRange[]) => new CallPlan(ranges, CALL_BYTES_MAX, CALL_RANGES_MAX);

/** What one task gets from a file that is mapped at `address`. */
export interface TaskCopy {
  readonly pid: number;
  readonly plan: CallPlan;
  readonly address: number;
}

/** Makes all copies, on all cores. Throws CriuError or SyscallError naming task and address. */
export function copyToTasks(copies: readonly TaskCopy[], onCopied?: OnCopied): void {
  let total = 0;
  for (const { plan } of copies) for (const bytes of plan.bytes) total += bytes;
  if (total < PARALLEL_BYTES_MIN) for (const copy of copies) copySmall(copy);
  else copyParallel(copies, onCopied);
}

function copySmall({ pid, plan, address }: TaskCopy): void {
  const local = fileIov(plan, address);
  for (let call = 0; call < plan.length; call++) {
    const [own, iov] = [local.subarray(2 * call), plan.iovAddress(call)];
    const result = syscall(SYS.process_vm_writev, pid, own, 1, iov, plan.iovCount(call), 0);
    if (result !== plan.bytes[call]) failed(pid, plan, call, result);
  }
}

/** Each thread takes the next call in turn. */
function copyParallel(copies: readonly TaskCopy[], onCopied: OnCopied | undefined): void {
  const locals = copies.map(({ plan, address }) => fileIov(plan, address));
  const count = threadCount();
  const threads: ReturnType<typeof startThread>[] = [];
  try {
    for (let turn = 0; turn < count; turn++) threads.push(startThread(copies, locals, turn, count));
  } finally {
    // Whatever goes wrong: they use memory of ours.
    tellProgress(threads, onCopied);
  }
  for (const { thread, ops } of threads) {
    copies.forEach(({ pid, plan }, i) => {
      const short = ops[i]?.findShort(thread);
      if (short !== undefined) failed(pid, plan, short.call, short.result);
    });
  }
}

/** A thread for every `count`th call of all copies; `turn`: the first of them. */
function startThread(copies: readonly TaskCopy[], locals: readonly BigUint64Array[], turn: number, count: number) {
  const ops: PlannedOps[] = [];
  const thread = new Running((program) => {
    let next = turn;
    copies.forEach(({ pid, plan }, i) => {
      ops.push(new PlannedOps(plan, program.length, 1, next, count));
      const local = locals[i];
      for (; local !== undefined && next < plan.length; next += count) {
        const own = addressOf(local) + IOV_BYTES * next;
        program.call(SYS.process_vm_writev, pid, own, 1, plan.iovAddress(next), plan.iovCount(next), 0);
      }
      next -= plan.length;
    });
  });
  return { thread, ops, locals };
}

/** The iovec of each call for its range of the file. */
function fileIov({ offsets, bytes }: CallPlan, address: number): BigUint64Array {
  // An array with a buffer of its own never moves.
  const iov = new BigUint64Array(new ArrayBuffer(offsets.length * IOV_BYTES));
  offsets.forEach((offset, call) => {
    iov[2 * call] = BigInt(address + offset);
    iov[2 * call + 1] = BigInt(bytes[call] ?? 0);
  });
  return iov;
}

/** Throws CriuError: it has not copied all of its bytes. */
function failed(pid: number, plan: CallPlan, call: number, result: number): never {
  const how = result < 0 ? errnoName(-result) : `${result}`;
  const isShort = result === -ERRNO.EFAULT;
  throw new CriuError({
    object: `task ${pid}`,
    action: `cannot fill its memory: ${how} of ${plan.bytes[call]} bytes from 0x${plan.start(call).toString(16)} on`,
    ...(isShort ? { why: 'the file that is mapped there is shorter than the images say' } : {}),
  });
}
