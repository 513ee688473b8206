/**
 * Mappings of big tasks are read and described before the stop, while the task runs. What is read so may be out of date when
 * it stands still; so in the freeze it is read again and compared, which takes much less than describing it: see
 * raw-mappings.ts. Where the kernel does not allow that, nothing is read early.
 */
import { CriuError, SyscallError } from '../base/errors.ts';
import { pageTables } from '../linux/page-tables.ts';
import { tryReadProc } from '../linux/syscalls/fs.ts';
import { parseChildren } from '../proc/small.ts';
import type { SmapsEntry } from '../proc/smaps.ts';
import { type DescribedVmas, describeVmas } from '../resources/mm/dump-vmas.ts';
import { isSameRaw, type RawMappings, tryParseRaw, tryReadRaw } from '../resources/mm/raw-mappings.ts';
import { areBitsKnown } from '../resources/mm/vm-flags.ts';
import type { FrozenTask } from './frozen-tree.ts';
import { type KnownRoom, readRoom, TWIN_BYTES_MIN } from './twin-policy.ts';

/** How much of a tree is looked through for big tasks, and how many of them are worth it. */
const TASKS_MAX = 16;
const BIG_TASKS_MAX = 4;
const PAGE_BYTES = 4096;

/** Mappings, how they are described in the images, and what the kernel said. */
interface Early extends DescribedVmas {
  readonly mappings: readonly SmapsEntry[];
  readonly raw: RawMappings;
}

export class EarlyMappings {
  readonly #tasks = new Map<number, Early>();
  readonly #big: ReadonlyMap<number, number>;
  /** What keeps them from having twins. */
  readonly room: KnownRoom;
  #taken = 0;

  /** Reads what big tasks have now; whoever is gone or can't be read is left out. */
  constructor({ bytes, isLargeTree }: BigTasks) {
    this.#big = bytes;
    for (const pid of bytes.keys()) this.#read(pid);
    this.room = readRoom(bytes);
    // In the stop the others are read in the same way, for which something has to be loaded.
    if (isLargeTree) areBitsKnown();
    if (isLargeTree && bytes.size > 0) pageTables();
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
  tryTake({ pid }: FrozenTask): Early | undefined {
    const early = this.#tasks.get(pid);
    const now = early && tryReadRaw(pid);
    if (early === undefined || now === undefined || !isSameRaw(early.raw, now)) return undefined;
    this.#taken++;
    return { ...early, raw: now };
  }
}

export interface BigTasks {
  /** By pid: how much memory of its own a task has that is worth a twin. */
  readonly bytes: ReadonlyMap<number, number>;
  /** There are more tasks than were looked at. */
  readonly isLargeTree: boolean;
}

/** Looks for them in a tree that runs. Whoever is gone is left out. */
export function findBigTasks(root: number): BigTasks {
  const big = new Map<number, number>();
  const pids = [root];
  for (let i = 0; i < pids.length && i < TASKS_MAX && big.size < BIG_TASKS_MAX; i++) {
    const pid = pids[i] ?? 0;
    const bytes = privateBytes(pid);
    if (bytes >= TWIN_BYTES_MIN) big.set(pid, bytes);
    const children = tryReadProc(`/proc/${pid}/task/${pid}/children`);
    if (typeof children === 'string') pids.push(...parseChildren(children));
  }
  return { bytes: big, isLargeTree: pids.length > TASKS_MAX };
}

/** Resident memory that is not of files and not shared memory (man 5 proc_pid_statm). */
function privateBytes(pid: number): number {
  const text = tryReadProc(`/proc/${pid}/statm`);
  const [, resident = 0, shared = 0] = typeof text === 'string' ? text.split(' ').map(Number) : [];
  return (resident - shared) * PAGE_BYTES;
}
