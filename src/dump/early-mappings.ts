/**
 * Mappings of big tasks are read before the stop. The kernel walks all page tables for smaps, which takes longer than the
 * rest of a freeze, and a fork too. What is read from a running task may be out of date when it stands still, so:
 *
 * 1. In the freeze all of maps is compared, which costs a tenth: addresses, protections, files and names are the same.
 *    Otherwise smaps is read again, and so it is when memory is locked (VmLck), which a fork forgets.
 * 2. What only VmFlags show (madvise, mseal, protection keys) is compared afterwards with smaps of the twin, which has
 *    the flags of the freeze (kernel/fork.c dup_mmap()) and lets everybody run meanwhile; without a twin it is compared in
 *    the freeze. What is different is corrected, or the dump fails: see confirmVmas().
 *
 * Not noticed: advice for shared mappings, which a twin lets go of, and a userfaultfd of another program, if it comes
 * in the milliseconds between the reading and the stop.
 */
import { CriuError, CriuErrors, SyscallError } from '../base/errors.ts';
import { readFile, tryReadProc } from '../linux/syscalls/fs.ts';
import { parseChildren } from '../proc/small.ts';
import type { SmapsEntry } from '../proc/smaps.ts';
import { confirmVmas } from '../resources/mm/confirm-vmas.ts';
import { type DescribedVma, describeVmas } from '../resources/mm/dump-vmas.ts';
import { readSmaps, readSmapsAndMaps } from '../resources/mm/read-smaps.ts';
import type { FrozenTask } from './frozen-tree.ts';
import { TWIN_BYTES_MIN } from './twin-policy.ts';

/** How much of a tree is looked through for big tasks, and how many of them are worth it. */
const TASKS_MAX = 16;
const BIG_TASKS_MAX = 4;
const PAGE_BYTES = 4096;

/** Mappings, and how they are described in the images. */
interface Mappings {
  readonly mappings: readonly SmapsEntry[];
  readonly vmas: DescribedVma[];
  /** The task's own memory. */
  readonly bytes: number;
}

interface Early extends Mappings {
  readonly maps: string;
}

export class EarlyMappings {
  readonly #tasks = new Map<number, Early>();

  /** Reads what the tree has now; whoever is gone or can't be read is left out. */
  constructor(root: number) {
    const pids = [root];
    for (let i = 0; i < pids.length && i < TASKS_MAX && this.#tasks.size < BIG_TASKS_MAX; i++) {
      const pid = pids[i] ?? 0;
      const bytes = privateBytes(pid);
      if (bytes >= TWIN_BYTES_MIN) this.#read(pid, bytes);
      const children = tryReadProc(`/proc/${pid}/task/${pid}/children`);
      if (typeof children === 'string') pids.push(...parseChildren(children));
    }
  }

  #read(pid: number, bytes: number): void {
    try {
      const { mappings, maps } = readSmapsAndMaps(pid);
      const { vmas, problems } = describeVmas(mappings, '');
      // Whether it can really not be dumped, is seen in the freeze.
      if (problems.length === 0) this.#tasks.set(pid, { mappings, vmas, maps, bytes });
    } catch (error) {
      if (!(error instanceof SyscallError) && !(error instanceof CriuError)) throw error;
    }
  }

  /** The mappings of a frozen task, to be confirmed later; undefined when they have changed, or may have. */
  tryTake({ pid }: FrozenTask): Mappings | undefined {
    const early = this.#tasks.get(pid);
    if (early === undefined || hasLockedMemory(pid) || readFile(`/proc/${pid}/maps`) !== early.maps) return undefined;
    return early;
  }
}

/** Compares with smaps of the twin, or of the frozen task itself. Throws CriuErrors when what was taken is not right. */
export function confirmMappings({ pid, label }: FrozenTask, vmas: readonly DescribedVma[], twin?: number): void {
  const now = readSmaps(twin ?? pid);
  // Whoever was killed has no memory any more, which is told when it is copied.
  if (now.length === 0) return;
  const problems = confirmVmas(vmas, now, twin !== undefined, label);
  if (problems.length > 0) throw new CriuErrors('the process tree cannot be dumped', problems);
}

/** Resident memory that is not of files and not shared memory (man 5 proc_pid_statm). */
function privateBytes(pid: number): number {
  const text = tryReadProc(`/proc/${pid}/statm`);
  const [, resident = 0, shared = 0] = typeof text === 'string' ? text.split(' ').map(Number) : [];
  return (resident - shared) * PAGE_BYTES;
}

function hasLockedMemory(pid: number): boolean {
  const text = tryReadProc(`/proc/${pid}/status`);
  return typeof text !== 'string' || !/^VmLck:\s+0 kB$/m.test(text);
}
