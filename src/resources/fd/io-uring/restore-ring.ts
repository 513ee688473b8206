/**
 * Entry → an io_uring that is the same for the program: made, brought to where its counters were, and filled.
 *
 * The program keeps the counters in its own memory too, and the kernel's begin at 0. Only requests move them: NOPs, a whole
 * submission queue of them with each call, for which memory of zeros is enough.
 */
import { OP_BYTES } from '../../../agent/agent-code.ts';
import type { Program, Result } from '../../../agent/program.ts';
import { CriuError } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { IoUringEntry } from '../../../image/gen/io-uring.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { F_SETFL } from '../../../linux/abi/fcntl.ts';
import * as URING from '../../../linux/abi/io-uring.ts';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../linux/abi/mman.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../../linux/kernel.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import type { RestoreTask, RestoreTree } from '../../../restore/restore-tree.ts';
import { SETFL_MASK } from '../fd-table/owner.ts';
import type { RestoreHome } from '../file-kind.ts';
import { areFlagsKept } from './idle-ring.ts';

export const PAGE_BYTES = 4096;
/** Calls for NOPs: some hundred milliseconds, and as many steps of a program. */
const CALLS_MAX = 32768;

const word = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
const pagesFor = (bytes: number) => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
const isPowerOfTwo = (value: number) => value > 0 && (value & (value - 1)) === 0;

/** Where the array of the submission queue is: behind the completions (io_uring/io_uring.c rings_size()). */
function arrayOffset({ setup_flags, cq_entries }: IoUringEntry): number {
  const bytes = URING.RINGS_CQES + cq_entries * URING.CQE_BYTES;
  return (setup_flags & URING.IORING_SETUP_CQE32) === 0 ? bytes : 2 * bytes;
}

function ringBytes(ring: IoUringEntry): number {
  const hasArray = (ring.setup_flags & URING.IORING_SETUP_NO_SQARRAY) === 0;
  return pagesFor(arrayOffset(ring) + (hasArray ? 4 * ring.sq_entries : 0));
}

const sqeStride = ({ setup_flags }: IoUringEntry) =>
  (setup_flags & URING.IORING_SETUP_SQE128) === 0 ? URING.SQE_BYTES : 2 * URING.SQE_BYTES;

/** How many calls bring its counters where they were. */
const countCalls = ({ sq_head, cq_tail, sq_entries }: IoUringEntry) =>
  Math.ceil(cq_tail / sq_entries) + Math.ceil((sq_head - cq_tail) / sq_entries);

/** What speaks against making it again. Pure. */
export function ringProblem(ring: IoUringEntry): string | undefined {
  const { setup_flags, sq_entries, cq_entries, sq_head, cq_tail, rings, sqes } = ring;
  if (!areFlagsKept(setup_flags)) return `it is made with flags 0x${setup_flags.toString(16)}`;
  const fits = isPowerOfTwo(sq_entries) && isPowerOfTwo(cq_entries) && sq_entries <= URING.SQ_ENTRIES_MAX;
  if (!fits || cq_entries < sq_entries || cq_entries > URING.CQ_ENTRIES_MAX) {
    return `queues of ${sq_entries} and ${cq_entries} entries cannot be`;
  }
  if (rings.length !== ringBytes(ring) || sqes.length !== pagesFor(sq_entries * sqeStride(ring))) {
    return `its memory has ${rings.length} and ${sqes.length} bytes, which is not what its queues take`;
  }
  const isSame =
    word(rings, URING.RINGS_SQ_HEAD) === sq_head &&
    word(rings, URING.RINGS_CQ_TAIL) === cq_tail &&
    word(rings, URING.RINGS_SQ_MASK) === sq_entries - 1 &&
    word(rings, URING.RINGS_CQ_MASK) === cq_entries - 1;
  if (!isSame) return 'its memory says something else than the kernel';
  if (word(rings, URING.RINGS_SQ_FLAGS) !== 0) return 'the kernel asks the program to call it (flags of the queue)';
  if (cq_tail > sq_head) return `it has taken ${sq_head} requests and completed ${cq_tail}`;
  if (countCalls(ring) <= CALLS_MAX) return undefined;
  return `it has taken ${sq_head} requests, and ${CALLS_MAX * sq_entries} at most can be counted again`;
}

/** Arguments of io_uring_setup(2). */
function paramsOf({ setup_flags, cq_entries }: IoUringEntry): Uint8Array {
  const bytes = new Uint8Array(URING.PARAMS_BYTES);
  const view = new DataView(bytes.buffer);
  if ((setup_flags & URING.IORING_SETUP_CQSIZE) !== 0) view.setUint32(URING.PARAMS_CQ_ENTRIES, cq_entries, true);
  view.setUint32(URING.PARAMS_FLAGS, setup_flags, true);
  return bytes;
}

/** What io_uring_setup(2) says of the two queues, but for the array. */
const SQ_OFFSETS = [
  URING.RINGS_SQ_HEAD,
  URING.RINGS_SQ_TAIL,
  URING.RINGS_SQ_MASK,
  URING.RINGS_SQ_ENTRIES,
  URING.RINGS_SQ_FLAGS,
  URING.RINGS_SQ_DROPPED,
];
const CQ_OFFSETS = [
  URING.RINGS_CQ_HEAD,
  URING.RINGS_CQ_TAIL,
  URING.RINGS_CQ_MASK,
  URING.RINGS_CQ_ENTRIES,
  URING.RINGS_CQ_OVERFLOW,
  URING.RINGS_CQES,
  URING.RINGS_CQ_FLAGS,
];

/** Makes one of our own like it: the program has addresses of what is in it. Throws CriuError. */
export function testRing(ring: IoUringEntry): void {
  const object = `io_uring (file ${ring.id})`;
  const params = paramsOf(ring);
  const fd = syscall(SYS.io_uring_setup, ring.sq_entries, params);
  if (fd < 0) {
    const action = `cannot be made (io_uring_setup: ${errnoName(-fd)})`;
    throw new CriuError({ object, action, remedy: 'see sysctl kernel.io_uring_disabled', crErrno: -fd });
  }
  close(fd);
  const hasArray = (ring.setup_flags & URING.IORING_SETUP_NO_SQARRAY) === 0;
  const isSame =
    [...SQ_OFFSETS, hasArray ? arrayOffset(ring) : 0].every(
      (at, i) => word(params, URING.PARAMS_SQ_OFF + 4 * i) === at,
    ) &&
    CQ_OFFSETS.every((at, i) => word(params, URING.PARAMS_CQ_OFF + 4 * i) === at) &&
    word(params, URING.PARAMS_CQ_ENTRIES) === ring.cq_entries;
  if (isSame) return;
  throw new CriuError({ object, action: 'cannot be made again', why: 'this kernel has the parts of a ring elsewhere' });
}

/** Plans making it; what is in it comes later. */
export function planNewRing(ring: IoUringEntry, { table, made }: RestoreHome): void {
  const what = `io_uring ${ring.id}`;
  const fd = table.open(`make ${what}`, SYS.io_uring_setup, ring.sq_entries, { bytes: paramsOf(ring) });
  if ((ring.flags & SETFL_MASK) !== 0)
    table.do(`set the flags of ${what}`, SYS.fcntl, fd, F_SETFL, ring.flags & SETFL_MASK);
  made(ring.id, fd, true);
}

/** The rings that a task fills, and a descriptor of each: it is the one that alone may use it, or the first that has it. */
function ringsToFill(task: RestoreTask, { tasks, files }: RestoreTree): Map<IoUringEntry, number> {
  const filled = new Map<IoUringEntry, number>();
  for (const { id, fd, type } of task.fds) {
    const ring = type === FdTypes.IO_URING_EXT ? files.get(id)?.io_uring_ext : undefined;
    if (ring === undefined) continue;
    const filler = ring.submitter ?? tasks.find(({ fds }) => fds.some((other) => other.id === id))?.pid;
    if (filler === task.pid) filled.set(ring, fd);
  }
  return filled;
}

/** Plans what is in the rings that a task fills. */
export function planRingContents(program: Program, task: RestoreTask, tree: RestoreTree): void {
  for (const [ring, fd] of ringsToFill(task, tree)) planContent(program, task.pid, ring, fd);
}

/** How much room (bytes) that takes in a program, at most. */
export function ringProgramBytes(task: RestoreTask, tree: RestoreTree): number {
  let bytes = 0;
  for (const ring of ringsToFill(task, tree).keys())
    bytes += ring.rings.length + 2 * ring.sqes.length + countCalls(ring) * 4 * OP_BYTES + PAGE_BYTES;
  return bytes;
}

function planContent(program: Program, pid: number, ring: IoUringEntry, fd: number): void {
  const what = `io_uring ${ring.id}`;
  const map = (bytes: number, offset: number) =>
    program.must(`map ${what}`, SYS.mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
  const rings = new Region(program, pid, what, map(ring.rings.length, URING.IORING_OFF_SQ_RING));
  const sqes = new Region(program, pid, what, map(ring.sqes.length, URING.IORING_OFF_SQES));
  planRequests(program, ring, fd, rings, sqes);
  rings.write(ring.rings);
  sqes.write(ring.sqes);
  rings.unmap(ring.rings.length);
  sqes.unmap(ring.sqes.length);
}

/** Memory of the ring in the task, for a while. */
class Region {
  readonly #program: Program;
  readonly #pid: number;
  readonly #what: string;
  readonly #address: Result;

  constructor(program: Program, pid: number, what: string, address: Result) {
    this.#program = program;
    this.#pid = pid;
    this.#what = what;
    this.#address = address;
  }

  /** Writes bytes to its begin. Where they are in the program is returned: they may be changed and written again. */
  write(bytes: Uint8Array) {
    const program = this.#program;
    const place = program.blob(bytes);
    // Two struct iovec.
    const vectors = program.words(0, bytes.length, 0, bytes.length);
    program.store64(vectors, place);
    program.store64(program.at(vectors, 16), this.#address);
    const again = () =>
      program.must(`fill ${this.#what}`, SYS.process_vm_writev, this.#pid, vectors, 1, program.at(vectors, 16), 1, 0);
    again();
    return { place, again };
  }

  unmap(bytes: number): void {
    this.#program.must(`unmap ${this.#what}`, SYS.munmap, this.#address, bytes);
  }
}

/**
 * The kernel takes requests up to the tail of the submission queue, which is where it is to end, from the first entry that
 * its array of zeros says; completions go to a queue from which they are taken after each call.
 */
function planRequests(program: Program, ring: IoUringEntry, fd: number, rings: Region, sqes: Region): void {
  const { sq_head, cq_tail, sq_entries } = ring;
  if (sq_head === 0) return;
  const what = `count the requests of io_uring ${ring.id}`;
  const header = rings.write(new Uint8Array(Uint32Array.of(0, sq_head, 0, 0).buffer));
  const completed = program.at(header.place, URING.RINGS_CQ_HEAD);
  for (let done = 0; done < cq_tail; ) {
    const count = Math.min(sq_entries, cq_tail - done);
    program.expect(what, count, SYS.io_uring_enter, fd, count, 0, 0, 0);
    done += count;
    program.store32(completed, done);
    program.store32(program.at(completed, 4), done);
    header.again();
  }
  if (sq_head === cq_tail) return;
  sqes.write(silentRequests(ring));
  for (let done = cq_tail; done < sq_head; ) {
    const count = Math.min(sq_entries, sq_head - done);
    program.expect(what, count, SYS.io_uring_enter, fd, count, 0, 0, 0);
    done += count;
  }
}

/** NOPs without completions. */
function silentRequests(ring: IoUringEntry): Uint8Array {
  const bytes = new Uint8Array(ring.sq_entries * sqeStride(ring));
  for (let at = URING.SQE_FLAGS; at < bytes.length; at += sqeStride(ring)) bytes[at] = URING.IOSQE_CQE_SKIP_SUCCESS;
  return bytes;
}
