/**
 * Kernel objects that kcmp(2) tells apart: it orders those that differ, so a binary search finds the equal one among many.
 */
import { SyscallError } from '../../../base/errors.ts';
import { errnoName } from '../../../linux/abi/errno.ts';

export class KcmpOrder<T extends { readonly pid: number }> {
  readonly #known: T[];

  constructor(...first: T[]) {
    this.#known = first;
  }

  get size(): number {
    return this.#known.length;
  }

  /**
   * The object that is equal, or a new one. `compare`: what kcmp(2) says of the object in question and a known one. Throws
   * SyscallError: an object that is taken for another one would be restored twice.
   */
  findOrAdd(compare: (known: T) => number, make: () => T): T {
    let low = 0;
    for (let high = this.#known.length; low < high; ) {
      const middle = (low + high) >>> 1;
      const known = this.#known[middle];
      if (known === undefined) break;
      const order = compare(known);
      if (order < 0) throw new SyscallError('kcmp', -order, errnoName(-order), `process ${known.pid}`);
      if (order === 0) return known;
      if (order === 1) high = middle;
      else low = middle + 1;
    }
    const added = make();
    this.#known.splice(low, 0, added);
    return added;
  }
}
