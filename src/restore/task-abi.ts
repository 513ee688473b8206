/** What kind of task (agent/abi.ts) the images are of. Pure. */
import { ABI_32, ABI_32_3GB, ABI_64, type Abi } from '../agent/abi.ts';
import { CriuError } from '../base/errors.ts';
import type { MmEntry } from '../image/gen/mm.ts';
import { abiOfImage } from '../resources/registers/registers.ts';
import type { RestoreMember, RestoreTask, RestoreThread } from './restore-tree.ts';

/** All threads of a task execute the same kind of code: whatever else there may be is refused by a dump. */
export function abiOfTask(threads: readonly RestoreThread[], { vmas }: Pick<MmEntry, 'vmas'>, label: string): Abi {
  const [abi = ABI_64, ...others] = new Set(
    threads.map(({ core }) => (core.thread_info === undefined ? ABI_64 : abiOfImage(core.thread_info.gpregs))),
  );
  if (others.length === 0) {
    const personality = threads[0]?.core.tc?.personality ?? 0;
    // Who has set it without execve(2) since has a larger address space.
    const has3Gb =
      abi === ABI_32 &&
      (personality & ABI_32_3GB.personality) !== 0 &&
      vmas.every(({ start, end }) => end <= ABI_32_3GB.taskSize || start >= ABI_32.taskSize);
    return has3Gb ? ABI_32_3GB : abi;
  }
  const action = 'cannot be restored: some of its threads execute 64-bit code, some 32-bit code';
  throw new CriuError({ object: label, action, why: 'such tasks are not supported by this criu' });
}

/** A task becomes one of the other kind by execve(2), which leaves it alone with its descriptors. */
export function checkKinds(members: readonly RestoreMember[]): void {
  const kinds = new Map<number, RestoreTask>();
  for (const task of members) {
    if (task.kind !== 'task') continue;
    const other = kinds.get(task.ids.files_id) ?? task;
    kinds.set(task.ids.files_id, other);
    if (other.abi === task.abi) continue;
    const action = `cannot be restored: it shares its descriptors with ${other.label}`;
    throw new CriuError({
      object: task.label,
      action,
      why: 'they are programs of different kinds: of 64 or of 32 bits, or with another limit of addresses',
    });
  }
}
