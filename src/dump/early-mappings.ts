/**
 * Mappings of big tasks are read and described before the stop, while the task runs. What is read so may be out of date when
 * it stands still; so in the freeze it is read again and compared, which takes much less than describing it: see
 * read-mappings.ts. Where the kernel does not allow that, nothing is read early.
 */
import { CriuError, SyscallError } from '../base/errors.ts';
import { tryReadProc } from '../linux/syscalls/fs.ts';
import { parseChildren } from '../proc/small.ts';
import type { SmapsEntry } from '../proc/smaps.ts';
import { type DescribedVmas, describeVmas } from '../resources/mm/dump-vmas.ts';
import { isSameRaw, type RawMappings, tryParseRaw, tryReadRaw } from '../resources/mm/read-mappings.ts';
import type { FrozenTask } from './frozen-tree.ts';
import { type KnownRoom, readRoom, TWIN_BYTES_MIN } from './twin-policy.ts';

/** How much of a tree is looked through for big tasks, and how many of them are worth it. */
const TASKS_MAX = 16;
const BIG_TASKS_MAX = 4;
const PAGE_BYTES = 4096;

/** Mappings, and how they are described in the images. */
interface Mappings extends DescribedVmas {
  readonly mappings: readonly SmapsEntry[];
}

interface Early extends Mappings {
  readonly raw: RawMappings;
}

export class EarlyMappings {
  readonly #tasks = new Map<number, Early>();
  readonly #big: ReadonlyMap<number, number>;
  /** What keeps them from having twins. */
  readonly room: KnownRoom;
  #taken = 0;

  /** Reads what tasks have now, of which `findBigTasks` says how much; whoever is gone or can't be read is left out. */
  constructor(big: ReadonlyMap<number, number>) {
    this.#big = big;
    for (const pid of big.keys()) this.#read(pid);
    this.room = readRoom(big);
  }

  #read(pid: number): void {
    try {
      const raw = tryReadRaw(pid);
      const mappings = raw && tryParseRaw(raw);
      if (raw === undefined || mappings === undefined) return;
      const { problems, ...described } = describeVmas(mappings, '');
      // Whether it can really not be dumped, is seen in the freeze.
      if (problems.length === 0) this.#tasks.set(pid, { mappings, ...described, raw });
    } catch (error) {
      if (!(error instanceof SyscallError) && !(error instanceof CriuError)) throw error;
    }
  }

  /** Of how many tasks the mappings have been taken. */
  get taken(): number {
    return this.#taken;
  }

  /** How much memory of its own a task had; undefined when it was not much. */
  bytesOf({ pid }: FrozenTask): number | undefined {
    return this.#big.get(pid);
  }

  /** The mappings of a frozen task; undefined when they have changed, or were not read. */
  tryTake({ pid }: FrozenTask): Mappings | undefined {
    const early = this.#tasks.get(pid);
    const now = early && tryReadRaw(pid);
    if (early === undefined || now === undefined || !isSameRaw(early.raw, now)) return undefined;
    this.#taken++;
    return early;
  }
}

/** Tasks of a tree that are worth a twin, and how much memory of their own they have. Whoever is gone is left out. */
export function findBigTasks(root: number): Map<number, number> {
  const big = new Map<number, number>();
  const pids = [root];
  for (let i = 0; i < pids.length && i < TASKS_MAX && big.size < BIG_TASKS_MAX; i++) {
    const pid = pids[i] ?? 0;
    const bytes = privateBytes(pid);
    if (bytes >= TWIN_BYTES_MIN) big.set(pid, bytes);
    const children = tryReadProc(`/proc/${pid}/task/${pid}/children`);
    if (typeof children === 'string') pids.push(...parseChildren(children));
  }
  return big;
}

/** Resident memory that is not of files and not shared memory (man 5 proc_pid_statm). */
function privateBytes(pid: number): number {
  const text = tryReadProc(`/proc/${pid}/statm`);
  const [, resident = 0, shared = 0] = typeof text === 'string' ? text.split(' ').map(Number) : [];
  return (resident - shared) * PAGE_BYTES;
}
