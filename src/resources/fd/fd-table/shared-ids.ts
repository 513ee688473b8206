/**
 * Numbers of what tasks may share: address space, descriptor table, cwd and root (fs_struct), signal handlers. Equal
 * numbers mean shared (man 2 clone: CLONE_VM, CLONE_FILES, CLONE_FS, CLONE_SIGHAND).
 *
 * Number 1 of each belongs to the dumper itself and goes into the inventory (root_ids), as in CRIU.
 */

import type { FrozenTree } from '../../../dump/frozen-tree.ts';
import { KCMP_FILES, KCMP_FS, KCMP_SIGHAND, KCMP_VM } from '../../../linux/abi/kcmp.ts';
import { getpid, kcmp } from '../../../linux/syscalls/process.ts';
import { KcmpOrder } from './kcmp-order.ts';

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

/** Numbers for objects of one type. */
class ObjectIds {
  readonly #type: number;
  readonly #known = new KcmpOrder<{ readonly pid: number; readonly id: number }>();

  constructor(type: number) {
    this.#type = type;
  }

  identify(pid: number): number {
    const compare = (known: { readonly pid: number }) => kcmp(pid, known.pid, this.#type);
    return this.#known.findOrAdd(compare, () => ({ pid, id: this.#known.size + 1 })).id;
  }
}
