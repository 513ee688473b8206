/**
 * Copies pages of tasks into files, on all cores. write(2) locks the inode of its file, so threads that write to one file
 * wait for each other: every thread has files of its own. When there is one file only, they take turns with its pieces, and
 * one reads while another one writes. A piece is read into a buffer that stays in the processor's cache, and written from
 * there.
 */

import { KIND } from '../../agent/agent-code.ts';
import { CHECKS, Ops } from '../../agent/ops.ts';
import type { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { addressOf, syscall } from '../../linux/kernel.ts';
import { mmap, munmap } from '../../linux/syscalls/mm.ts';
import { Running, threadCount } from '../../tracee/parallel.ts';
import { bytesOf, CallPlan, type FileRange, IOV_BYTES, type OnCopied, PlannedOps, tellProgress } from './call-plan.ts';

/** What a thread reads at once: it is still in the cache when it is written. */
const BUFFER_BYTES = 256 << 10;
/** From this size on threads copy. */
const THREADS_BYTES_MIN = 8 << 20;
/** To write takes longer than to read, so more of them would only wait. */
const THREADS_OF_FILE = 2;

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

/** Copies all runs, and does something else `meanwhile`. `onCopied` is told about big amounts only. */
export function copyToFiles(
  copies: readonly Copy[],
  onCopied?: OnCopied,
  meanwhile?: () => void,
): FailedCopy | undefined {
  let total = 0;
  for (const { runs } of copies) total += bytesOf(runs);
  if (total >= THREADS_BYTES_MIN) return copyBig(copies, onCopied, meanwhile);
  meanwhile?.();
  return copySmall(copies);
}

/** /proc/PID/mem is read one range at a time. */
const planCopy = ({ source, runs }: Copy) =>
  new CallPlan(runs, BUFFER_BYTES, source.memFd === undefined ? undefined : 1);

function copySmall(copies: readonly Copy[]): FailedCopy | undefined {
  const planned = copies.map((copy) => ({ copy, plan: planCopy(copy) }));
  const most = Math.max(0, ...planned.flatMap(({ plan }) => plan.bytes));
  if (most === 0) return undefined;
  // Memory that is not needed would cost the time to clear it.
  const buffer = new Uint8Array(most);
  const local = BigUint64Array.of(BigInt(addressOf(buffer)), BigInt(most));
  for (const { copy, plan } of planned) {
    const { pid, memFd } = copy.source;
    for (let call = 0; call < plan.length; call++) {
      const bytes = plan.bytes[call] ?? 0;
      const copied =
        memFd === undefined
          ? syscall(SYS.process_vm_readv, pid, local, 1, plan.iovAddress(call), plan.iovCount(call), 0)
          : syscall(SYS.pread64, memFd, buffer, bytes, plan.start(call));
      if (copied !== bytes) return notCopied(copy, plan, call, copied);
      const written = syscall(SYS.pwrite64, copy.fd, buffer, bytes, plan.offsets[call]);
      if (written !== bytes) return notCopied(copy, plan, call, written);
    }
  }
  return undefined;
}

function copyBig(
  copies: readonly Copy[],
  onCopied: OnCopied | undefined,
  meanwhile: (() => void) | undefined,
): FailedCopy | undefined {
  const lanes: ReturnType<typeof startLane>[] = [];
  const threads = threadCount();
  const shares = shareOut(copies, threads);
  try {
    if (shares.length > 1) for (const share of shares) lanes.push(startLane(share.map(planned), 0, 1));
    else {
      const pieces = copies.map(planned);
      const count = Math.min(threads, THREADS_OF_FILE);
      for (let turn = 0; turn < count; turn++) lanes.push(startLane(pieces, turn, count));
    }
    meanwhile?.();
  } finally {
    // Whatever goes wrong here: they use memory of ours.
    tellProgress(
      lanes.map(({ thread, pieces }) => ({ thread, ops: pieces.map(({ writes }) => writes) })),
      onCopied,
    );
    for (const { buffer } of lanes) munmap(buffer, BUFFER_BYTES);
  }
  for (const { thread, pieces } of lanes) {
    for (const { copy, plan, reads, writes } of pieces) {
      const short = reads.findShort(thread) ?? writes.findShort(thread);
      if (short !== undefined) return notCopied(copy, plan, short.call, short.result);
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

/** A copy and the calls that make it. */
interface PlannedCopy {
  readonly copy: Copy;
  readonly plan: CallPlan;
}

const planned = (copy: Copy): PlannedCopy => ({ copy, plan: planCopy(copy) });

/** A thread for every `count`th call of each copy, `turn` the first of them; the buffer that it uses, and what it does. */
function startLane(copies: readonly PlannedCopy[], turn: number, count: number) {
  const buffer = mmap(0, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  // Longer than what is read into it: the kernel takes the lesser of the two.
  const local = new BigUint64Array(new ArrayBuffer(IOV_BYTES));
  local.set([BigInt(buffer), BigInt(BUFFER_BYTES)]);
  const pieces: (PlannedCopy & { readonly reads: PlannedOps; readonly writes: PlannedOps })[] = [];
  const thread = new Running((program) => {
    for (const { copy, plan } of copies) {
      const first = program.length;
      addCalls(program, { copy, plan }, turn, count, addressOf(local), buffer);
      const reads = new PlannedOps(plan, first, 2, turn, count);
      pieces.push({ copy, plan, reads, writes: new PlannedOps(plan, first + 1, 2, turn, count) });
    }
  });
  return { thread, buffer, local, pieces };
}

/** A read and a write for every `count`th call of the plan, `turn` the first of them. There may be many thousands. */
function addCalls(
  program: Program,
  { copy, plan }: PlannedCopy,
  turn: number,
  count: number,
  local: number,
  buffer: number,
): void {
  const { fd, source } = copy;
  const { pid, memFd } = source;
  const calls = Math.ceil((plan.length - turn) / count);
  if (calls <= 0) return;
  const ops = new Ops<never>();
  const add = (nr: number, ...args: number[]) => ops.add(KIND.syscall, nr, CHECKS.call, args, undefined);
  if (memFd === undefined) add(SYS.process_vm_readv, pid, local, 1, 0, 0, 0);
  else add(SYS.pread64, memFd, buffer, 0, 0);
  add(SYS.pwrite64, fd, buffer, 0, 0);
  ops.repeatFrom(0, calls);
  for (let call = turn, op = 0; call < plan.length; call += count, op += 2) {
    const bytes = plan.bytes[call] ?? 0;
    if (memFd === undefined) {
      ops.set(op, 3, plan.iovAddress(call));
      ops.set(op, 4, plan.iovCount(call));
    } else {
      ops.set(op, 2, bytes);
      ops.set(op, 3, plan.start(call));
    }
    ops.set(op + 1, 2, bytes);
    ops.set(op + 1, 3, plan.offsets[call] ?? 0);
    if (op > 0) ops.because.push(undefined, undefined);
  }
  program.append(ops, []);
}

function notCopied(copy: Copy, plan: CallPlan, call: number, result: number): FailedCopy {
  const where = `0x${plan.start(call).toString(16)}`;
  const how = result < 0 ? errnoName(-result) : `${result}`;
  const action = `cannot copy its memory to the images: ${how} of ${plan.bytes[call]} bytes from ${where} on`;
  return { copy, error: new CriuError({ object: `task ${copy.source.pid}`, action }) };
}
