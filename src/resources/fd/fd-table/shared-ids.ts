/**
 * Numbers of what tasks may share: address space, descriptor table, cwd and root (fs_struct), signal handlers. Equal
 * numbers mean shared (man 2 clone: CLONE_VM, CLONE_FILES, CLONE_FS, CLONE_SIGHAND).
 *
 * Number 1 of each belongs to the dumper itself and goes into the inventory (root_ids), as in CRIU.
 */

import type { FrozenTree } from '../../../dump/frozen-tree.ts';
import { KCMP_FILES, KCMP_FS, KCMP_SIGHAND, KCMP_VM } from '../../../linux/abi/kcmp.ts';
import { getpid } from '../../../linux/syscalls/process.ts';
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
  const vm = new KcmpOrder(KCMP_VM);
  const files = new KcmpOrder(KCMP_FILES);
  const fs = new KcmpOrder(KCMP_FS);
  const sighand = new KcmpOrder(KCMP_SIGHAND);
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
