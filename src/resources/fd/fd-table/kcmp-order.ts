/**
 * Numbers for kernel objects that kcmp(2) tells apart: it orders those that differ, so a binary search finds the equal one
 * among many.
 */
import { SyscallError } from '../../../base/errors.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { kcmp } from '../../../linux/syscalls/process.ts';

/** An object by a process, and a descriptor when it is a file, that has it. */
export interface Numbered {
  readonly pid: number;
  readonly fd: number;
  readonly id: number;
}

export class KcmpOrder {
  readonly #type: number;
  readonly #known: Numbered[];

  /** `type`: what kcmp(2) compares. */
  constructor(type: number, ...first: Numbered[]) {
    this.#type = type;
    this.#known = first;
  }

  /**
   * The number of the equal object, or `next` for one that is new. Throws SyscallError: an object that is taken for another
   * one would be restored twice.
   */
  identify(pid: number, fd = 0, next = this.#known.length + 1): number {
    let low = 0;
    for (let high = this.#known.length; low < high; ) {
      const middle = (low + high) >>> 1;
      const known = this.#known[middle];
      if (known === undefined) break;
      const order = kcmp(pid, known.pid, this.#type, fd, known.fd);
      if (order < 0) throw new SyscallError('kcmp', -order, errnoName(-order), `process ${known.pid}`);
      if (order === 0) return known.id;
      if (order === 1) high = middle;
      else low = middle + 1;
    }
    this.#known.splice(low, 0, { pid, fd, id: next });
    return next;
  }
}
