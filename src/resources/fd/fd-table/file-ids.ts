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
  readonly ino: number;
  readonly pos: bigint;
  readonly flags: number;
  readonly first: Known;
  /** All of them in the kernel's order; mostly there is only the first. */
  known: Known[] | undefined;
  /** Another group with the same hash. */
  readonly next: Group | undefined;
}

/** Spreads the positions in one file; a prime. */
const POSITION_FACTOR = 65_537;

export class FileIds {
  readonly #groups = new Map<number, Group>();
  #next = 1;

  /** A number for something that is no description. */
  next(): number {
    return this.#next++;
  }

  /** The highest number so far. */
  get last(): number {
    return this.#next - 1;
  }

  /** The number of a description; when it is seen for the first time, a new one. */
  identify({ task, fd, stat, flags, pos }: OpenFile): number {
    const { st_dev: dev, st_ino: ino } = stat;
    const hash = pos === 0n ? ino : ino + Number(pos) * POSITION_FACTOR;
    const others = this.#groups.get(hash);
    for (let group = others; group !== undefined; group = group.next) {
      if (group.ino === ino && group.dev === dev && group.flags === flags && group.pos === pos) {
        return this.#identifyIn(group, task.pid, fd);
      }
    }
    const id = this.next();
    const first = { pid: task.pid, fd, id };
    this.#groups.set(hash, { dev, ino, pos, flags, first, known: undefined, next: others });
    return id;
  }

  #identifyIn(group: Group, pid: number, fd: number): number {
    group.known ??= [group.first];
    const { known } = group;
    let low = 0;
    for (let high = known.length; low < high; ) {
      const middle = (low + high) >>> 1;
      const other = known[middle];
      if (other === undefined) break;
      const order = kcmp(pid, other.pid, KCMP_FILE, fd, other.fd);
      if (order === 0) return other.id;
      if (order === 1) high = middle;
      else low = middle + 1;
    }
    const id = this.next();
    known.splice(low, 0, { pid, fd, id });
    return id;
  }
}
