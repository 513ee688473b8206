/**
 * Rings in the memory of a task, of packet sockets and io_uring: mappings of a descriptor. What is in them belongs to the
 * file, so only the mapping is made again, when the task has the descriptor.
 */
import type { Program } from '../../agent/program.ts';
import { assert, type CriuErrorFields } from '../../base/errors.ts';
import type { FrozenTask } from '../../dump/frozen-tree.ts';
import type { VmaEntry } from '../../image/gen/vma.ts';
import { VMA_AREA_SOCKET } from '../../image/vma-status.ts';
import { IORING_OFF_CQ_RING, IORING_OFF_SQ_RING, IORING_OFF_SQES } from '../../linux/abi/io-uring.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { RestoreTask, RestoreTree } from '../../restore/restore-tree.ts';
import type { Range } from '../mm/address-space.ts';
import { type DescribedVma, isIoUring } from '../mm/dump-vmas.ts';
import { isSpecial, mmapFlags } from '../mm/restore-vmas.ts';
import type { KindDump } from './file-kind.ts';
import { rings } from './io-uring/io-uring.ts';
import { planIntoOnlyGap } from './io-uring/only-gap.ts';
import { packetSockets } from './packet-socket/packet-socket.ts';

const isRing = ({ status }: VmaEntry) => (status & VMA_AREA_SOCKET) !== 0;

type Files = Pick<KindDump, 'state' | 'fdsOf' | 'idOf'>;

/** Notes the files behind the mappings of a task, when all descriptors are known; returns what speaks against it. */
export function assignRings(task: FrozenTask, vmas: readonly DescribedVma[], dump: Files): CriuErrorFields[] {
  return vmas.flatMap(({ entry, seen }) => {
    if (!isRing(entry)) return [];
    const id = (isIoUring(seen.path) ? rings(dump) : packetSockets(dump)).get(seen.inode);
    if (id !== undefined) entry.shmid = id;
    const why = findProblem(task, seen, id, dump);
    if (why === undefined) return [];
    const range = `${entry.start.toString(16)}-${entry.end.toString(16)}`;
    return [{ object: `${task.label}: mapping ${range} ${seen.rawPath}`, action: 'cannot be dumped', why }];
  });
}

function findProblem(
  task: FrozenTask,
  { path, offset }: DescribedVma['seen'],
  id: number | undefined,
  dump: Files,
): string | undefined {
  if (id === undefined || !dump.fdsOf(task).some((fd) => dump.idOf(task, fd) === id))
    return 'the task has no descriptor any more by which the ring could be mapped again';
  const begins = [IORING_OFF_SQ_RING, IORING_OFF_CQ_RING, IORING_OFF_SQES];
  if (isIoUring(path) && !begins.includes(offset)) return 'only a whole mapping of an io_uring can be made again';
  return undefined;
}

/** What speaks against mapping the rings of a task. */
export function checkRings({ special, fds, label }: RestoreTask): CriuErrorFields[] {
  return special.flatMap((vma) => {
    if (!isRing(vma) || fds.some(({ id }) => id === vma.shmid)) return [];
    const object = `mapping ${vma.start.toString(16)}-${vma.end.toString(16)} of ${label}`;
    return [
      { object, action: 'cannot be restored', why: `it has no descriptor of file ${vma.shmid}, which is mapped there` },
    ];
  });
}

/** Plans mapping the rings of a task whose descriptors are complete. `others`: what is mapped besides its own memory. */
export function planRings(
  program: Program,
  { special, fds, mm }: RestoreTask,
  { files }: RestoreTree,
  others: readonly Range[],
): void {
  const placed: { readonly vma: VmaEntry; readonly fd: number }[] = [];
  for (const vma of special) {
    if (!isRing(vma)) continue;
    const fd = fds.find(({ id }) => id === vma.shmid)?.fd;
    assert(fd !== undefined, 'the task has the file of a ring');
    const because = `map a ring at ${vma.start.toString(16)}`;
    if (files.get(vma.shmid)?.io_uring_ext !== undefined) placed.push({ vma, fd });
    else program.must(because, SYS.mmap, vma.start, vma.end - vma.start, vma.prot, mmapFlags(vma), fd, vma.pgoff);
  }
  if (placed.length === 0) return;
  const own = mm.vmas.filter((vma) => !isSpecial(vma) && !placed.some(({ vma: ring }) => ring === vma));
  planIntoOnlyGap(program, [...own, ...others], placed);
}
