/**
 * Numbers of what tasks may share: address space, descriptor table, cwd and root (fs_struct), signal handlers. Equal
 * numbers mean shared (man 2 clone: CLONE_VM, CLONE_FILES, CLONE_FS, CLONE_SIGHAND).
 *
 * Number 1 of each belongs to the dumper itself and goes into the inventory (root_ids), as in CRIU.
 */

import { SyscallError } from '../../../base/errors.ts';
import type { FrozenTree } from '../../../dump/frozen-tree.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { KCMP_FILES, KCMP_FS, KCMP_SIGHAND, KCMP_VM } from '../../../linux/abi/kcmp.ts';
import { getpid, kcmp } from '../../../linux/syscalls/process.ts';

export interface SharedIds {
  readonly vm_id: number;
  readonly files_id: number;
  readonly fs_id: number;
  readonly sighand_id: number;
}

/** Ids of the dumper, for the inventory. */
export const DUMPER_IDS: SharedIds = { vm_id: 1, files_id: 1, fs_id: 1, sighand_id: 1 };

/** Ids of all living tasks by pid. Throws SyscallError. */
export function assignSharedIds(tree: FrozenTree): Map<number, SharedIds> {
  const vm = new ObjectIds(KCMP_VM);
  const files = new ObjectIds(KCMP_FILES);
  const fs = new ObjectIds(KCMP_FS);
  const sighand = new ObjectIds(KCMP_SIGHAND);
  const self = getpid();
  for (const ids of [vm, files, fs, sighand]) ids.identify(self);
  return new Map(
    tree.tasks.map(({ pid }) => [
      pid,
      {
        vm_id: vm.identify(pid),
        files_id: files.identify(pid),
        fs_id: fs.identify(pid),
        sighand_id: sighand.identify(pid),
      },
    ]),
  );
}

/** Objects of one type, in the order that the kernel gives them. */
class ObjectIds {
  readonly #type: number;
  readonly #known: { pid: number; id: number }[] = [];

  constructor(type: number) {
    this.#type = type;
  }

  identify(pid: number): number {
    let low = 0;
    for (let high = this.#known.length; low < high; ) {
      const middle = (low + high) >>> 1;
      const other = this.#known[middle];
      if (other === undefined) break;
      const order = kcmp(pid, other.pid, this.#type);
      if (order < 0) throw new SyscallError('kcmp', -order, errnoName(-order), `${pid}, ${other.pid}`);
      if (order === 0) return other.id;
      if (order === 1) high = middle;
      else low = middle + 1;
    }
    const id = this.#known.length + 1;
    this.#known.splice(low, 0, { pid, id });
    return id;
  }
}
