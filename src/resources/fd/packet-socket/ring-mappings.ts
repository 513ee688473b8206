/**
 * Rings of packet sockets in the memory of a task: a mapping of the socket's descriptor. Its content is the kernel's, so
 * only the mapping is made again, when the task has the socket.
 */
import type { Program } from '../../../agent/program.ts';
import { assert, type CriuErrorFields } from '../../../base/errors.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import type { VmaEntry } from '../../../image/gen/vma.ts';
import { VMA_AREA_SOCKET } from '../../../image/vma-status.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { RestoreTask } from '../../../restore/restore-tree.ts';
import type { DescribedVma } from '../../mm/dump-vmas.ts';
import { mmapFlags } from '../../mm/restore-vmas.ts';
import type { KindDump } from '../file-kind.ts';
import { packetSockets } from './packet-socket.ts';

const isRing = ({ status }: VmaEntry) => (status & VMA_AREA_SOCKET) !== 0;

/** Notes the sockets behind the mappings of a task, when all descriptors are known; returns what speaks against it. */
export function assignRings(
  task: FrozenTask,
  vmas: readonly DescribedVma[],
  dump: Pick<KindDump, 'state' | 'fdsOf' | 'idOf'>,
): CriuErrorFields[] {
  return vmas.flatMap(({ entry, seen }) => {
    if (!isRing(entry)) return [];
    const id = packetSockets(dump).get(seen.inode);
    if (id !== undefined && dump.fdsOf(task).some((fd) => dump.idOf(task, fd) === id)) {
      entry.shmid = id;
      return [];
    }
    const range = `${entry.start.toString(16)}-${entry.end.toString(16)}`;
    const why = 'the task has no descriptor of the socket any more, by which the ring could be mapped again';
    return [{ object: `${task.label}: mapping ${range} ${seen.rawPath}`, action: 'cannot be dumped', why }];
  });
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

/** Plans mapping the rings of a task whose descriptors are complete. */
export function planRings(program: Program, { special, fds }: RestoreTask): void {
  for (const vma of special) {
    if (!isRing(vma)) continue;
    const fd = fds.find(({ id }) => id === vma.shmid)?.fd;
    assert(fd !== undefined, 'the task has the socket of a ring');
    const because = `map a ring at ${vma.start.toString(16)}`;
    program.must(because, SYS.mmap, vma.start, vma.end - vma.start, vma.prot, mmapFlags(vma), fd, vma.pgoff);
  }
}
