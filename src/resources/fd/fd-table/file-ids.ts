/**
 * Numbers for open file descriptions: equal ones of all tasks get one number. The kernel compares them (kcmp, man 2
 * kcmp) and orders those that differ, so a binary search finds equals among many descriptions of one inode.
 */
import { KCMP_FILE, kcmp } from '../../../linux/syscalls/process.ts';
import type { OpenFile } from '../file-kind.ts';

/** A description that is known, by one of its descriptors. */
interface Known {
  readonly pid: number;
  readonly fd: number;
  readonly id: number;
}

/** Descriptions that may be equal: same inode and position, opened with the same flags. */
interface Group {
  readonly dev: number;
  readonly flags: number;
  /** In the kernel's order. */
  readonly known: Known[];
}

export class FileIds {
  /** By inode, then by position. */
  readonly #byInode = new Map<number, Map<bigint, Group[]>>();
  #next = 1;

  /** A number for something that is no description. */
  next(): number {
    return this.#next++;
  }

  /** The number of a description, and whether this is the first time it is seen. */
  identify({ task, fd, stat, flags, pos }: OpenFile): { id: number; isNew: boolean } {
    const { st_dev: dev, st_ino: ino } = stat;
    const byPosition = this.#byInode.get(ino) ?? new Map<bigint, Group[]>();
    if (byPosition.size === 0) this.#byInode.set(ino, byPosition);
    const groups = byPosition.get(pos);
    const group = groups?.find((candidate) => candidate.dev === dev && candidate.flags === flags);
    if (group !== undefined) return this.#identifyIn(group.known, task.pid, fd);
    const id = this.next();
    const added = { dev, flags, known: [{ pid: task.pid, fd, id }] };
    if (groups === undefined) byPosition.set(pos, [added]);
    else groups.push(added);
    return { id, isNew: true };
  }

  #identifyIn(known: Known[], pid: number, fd: number): { id: number; isNew: boolean } {
    let low = 0;
    for (let high = known.length; low < high; ) {
      const middle = (low + high) >>> 1;
      const other = known[middle];
      if (other === undefined) break;
      const order = kcmp(pid, other.pid, KCMP_FILE, fd, other.fd);
      if (order === 0) return { id: other.id, isNew: false };
      if (order === 1) high = middle;
      else low = middle + 1;
    }
    const id = this.next();
    known.splice(low, 0, { pid, fd, id });
    return { id, isNew: true };
  }
}
