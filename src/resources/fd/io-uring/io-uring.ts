/**
 * io_uring (man 7 io_uring): a ring in which no request is under way, and for which nothing is registered. idle-ring.ts
 * says how that is known, restore-ring.ts how it becomes the same again; where it is mapped, ring-mappings.ts.
 *
 * Refused: all others, with what speaks against them; and rings that have completed more requests than can be made again
 * in a moment, for the kernel's own counters can only be brought where they were by as many requests.
 *
 * Lost: that the ring's memory counts for the limit of its user (RLIMIT_MEMLOCK), for criu makes it, which has no limit.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { IoUringEntry } from '../../../image/gen/io-uring.ts';
import { IORING_OFF_SQ_RING, IORING_OFF_SQES } from '../../../linux/abi/io-uring.ts';
import { MAP_SHARED, PROT_READ } from '../../../linux/abi/mman.ts';
import { memoryAt } from '../../../linux/kernel.ts';
import { KernelObjects } from '../../../linux/kernel-objects.ts';
import { mmap, munmap } from '../../../linux/syscalls/mm.ts';
import type { RestoreTree } from '../../../restore/restore-tree.ts';
import type { DumpResult, FileKind, KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { type IdleRing, inspectRing } from './idle-ring.ts';
import { PAGE_BYTES, planNewRing, ringProblem, testRing } from './restore-ring.ts';

const DISABLE =
  'disable io_uring in the program (Node.js and libuv: UV_USE_IO_URING=0), or set sysctl kernel.io_uring_disabled=2 ' +
  'before it starts';

export const ioUring: FileKind = {
  type: FdTypes.IO_URING_EXT,

  recognise: (file) => file.link === 'anon_inode:[io_uring]',

  dump(file, id, dump) {
    // Mappings of a ring that is refused are nothing new.
    rings(dump).set(file.stat.st_ino, id);
    return dumpRing(file, id, dump);
  },

  check: ({ io_uring_ext: ring }, { tree }) => (ring === undefined ? [] : checkRing(ring, tree)),

  prepare: ({ tree }) => {
    for (const { io_uring_ext: ring } of tree.files.values()) if (ring !== undefined) testRing(ring);
  },

  maker: ({ io_uring_ext: ring }) => ring?.submitter ?? 'first',

  create([entry], home) {
    if (entry?.io_uring_ext !== undefined) planNewRing(entry.io_uring_ext, home);
  },

  fown: (entry) => entry.io_uring_ext?.fown,
  statusFlags: (entry) => entry.io_uring_ext?.flags,
};

/** Ids of the rings of the tree by inode: mappings refer to them. */
export const rings = (dump: Pick<KindDump, 'state'>): Map<number, number> =>
  dump.state('io_uring rings', () => new Map<number, number>());

function dumpRing(file: OpenFile, id: number, dump: KindDump): DumpResult {
  const objects = objectsOf(dump);
  if (objects === undefined || !objects.types.has('io_ring_ctx.nr_req_allocated')) {
    const unsupported =
      'criu cannot see whether the io_uring ring is idle: that needs Linux 6.16, CAP_BPF, CAP_PERFMON and ' +
      '/sys/kernel/btf/vmlinux';
    return { unsupported, remedy: DISABLE };
  }
  const ring = inspectRing(objects, file.localFd, dump.tasks);
  const problems = [...ring.problems, ...findOwnerProblem(ring, file, dump)];
  if (problems.length > 0) return inUse(problems.join('; '));
  const entry: IoUringEntry = {
    id,
    flags: file.flags,
    fown: file.fown,
    setup_flags: ring.setupFlags,
    sq_entries: ring.sqEntries,
    cq_entries: ring.cqEntries,
    sq_head: ring.sqHead,
    cq_tail: ring.cqTail,
    rings: copyRegion(file.localFd, IORING_OFF_SQ_RING, ring.ringPages),
    sqes: copyRegion(file.localFd, IORING_OFF_SQES, ring.sqePages),
    ...(ring.submitter === undefined ? {} : { submitter: ring.submitter }),
  };
  const problem = ringProblem(entry) ?? skippedProblem(ring);
  return problem === undefined ? { type: FdTypes.IO_URING_EXT, id, io_uring_ext: entry } : inUse(problem);
}

const inUse = (unsupported: string): Unsupported => ({
  unsupported: `only an io_uring ring that does nothing can be made again: ${unsupported}`,
  remedy: DISABLE,
});

/** Opened for the first ring. */
function objectsOf(dump: KindDump): KernelObjects | undefined {
  const { objects } = dump.state('io_uring kernel', () => ({ objects: KernelObjects.tryOpen() }));
  if (dump.isFirst('io_uring kernel')) for (const fd of objects?.memory.fds ?? []) dump.closeAfterwards(fd);
  return objects;
}

/** A ring of one thread is made by it again, so it must be the leader of a task that has the ring. */
function findOwnerProblem({ submitter }: IdleRing, { task }: OpenFile, { tasks }: KindDump): string[] {
  if (submitter === undefined || submitter === task.pid) return [];
  const owner = tasks.find(({ threads }) => threads.some(({ tid }) => tid === submitter));
  return [
    `it belongs to thread ${submitter}${owner === undefined ? ' outside of the tree' : ` of ${owner.label}`} alone`,
  ];
}

/** Requests without completions bring the counters apart, and can only be made where there have been some. */
function skippedProblem({ sqHead, cqTail, hasSkipped }: IdleRing): string | undefined {
  if (sqHead === cqTail || hasSkipped) return undefined;
  return `it has taken ${sqHead} requests and completed ${cqTail}`;
}

function submitterProblem({ id, submitter }: IoUringEntry, { tasks }: RestoreTree): string | undefined {
  if (submitter === undefined) return undefined;
  const owner = tasks.find(({ pid }) => pid === submitter);
  if (owner?.fds.some((other) => other.id === id)) return undefined;
  return `it belongs to task ${submitter}, which does not have it`;
}

function copyRegion(fd: number, offset: number, pages: number): Uint8Array {
  const bytes = pages * PAGE_BYTES;
  const address = mmap(0, bytes, PROT_READ, MAP_SHARED, fd, offset);
  try {
    return memoryAt(address, bytes).slice();
  } finally {
    munmap(address, bytes);
  }
}

function checkRing(ring: IoUringEntry, tree: RestoreTree): CriuErrorFields[] {
  const why = ringProblem(ring) ?? submitterProblem(ring, tree);
  return why === undefined ? [] : [{ object: `io_uring (file ${ring.id})`, action: 'cannot be restored', why }];
}
