/** Numbers for open file descriptions: equal ones of all tasks get one number. The kernel compares them (man 2 kcmp). */
import { KCMP_FILE } from '../../../linux/abi/kcmp.ts';
import type { OpenFile } from '../file-kind.ts';
import { KcmpOrder, type Numbered } from './kcmp-order.ts';

/** The first of the descriptions that may be equal: same inode and position, opened with the same flags. */
interface First extends Numbered {
  readonly dev: number;
  readonly ino: number;
  readonly pos: bigint;
  readonly flags: number;
  /** All of them in the kernel's order, when there are others. */
  known: KcmpOrder | undefined;
  /** The first of others with the same hash. */
  readonly next: First | undefined;
}

/** Spreads the positions in one file; a prime. */
const POSITION_FACTOR = 65_537;

export class FileIds {
  readonly #byHash = new Map<number, First>();
  #next = 1;

  /** A number for something that is no description. */
  next(): number {
    return this.#next++;
  }

  /** The highest number so far. */
  get last(): number {
    return this.#next - 1;
  }

  /** The number of a description; when it is seen for the first time, a new one. Throws SyscallError. */
  identify({ task, fd, stat, flags, pos }: OpenFile): number {
    const { st_dev: dev, st_ino: ino } = stat;
    const hash = pos === 0n ? ino : ino + Number(pos) * POSITION_FACTOR;
    const others = this.#byHash.get(hash);
    for (let first = others; first !== undefined; first = first.next) {
      if (first.ino === ino && first.dev === dev && first.flags === flags && first.pos === pos) {
        return this.#identifyAmong(first, task.pid, fd);
      }
    }
    const id = this.#next++;
    this.#byHash.set(hash, { pid: task.pid, fd, id, dev, ino, pos, flags, known: undefined, next: others });
    return id;
  }

  #identifyAmong(first: First, pid: number, fd: number): number {
    first.known ??= new KcmpOrder(KCMP_FILE, first);
    const id = first.known.identify(pid, fd, this.#next);
    if (id === this.#next) this.#next++;
    return id;
  }
}
