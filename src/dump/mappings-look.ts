/**
 * The mappings of the tasks of a tree, and the files behind them, as they are seen from outside. Forked tasks mostly have
 * just the mappings of the one before; then they are described once.
 */
import type { CriuErrorFields } from '../base/errors.ts';
import type { SmapsEntry } from '../proc/smaps.ts';
import type { FilesDump } from '../resources/fd/fd-table/collect-files.ts';
import { assignFile, type DescribedVma, type DescribedVmas, describeVmas } from '../resources/mm/dump-vmas.ts';
import { isSameRaw, type RawMappings, tryReadRaw } from '../resources/mm/raw-mappings.ts';
import { readMappings, understand } from '../resources/mm/read-mappings.ts';
import type { ScansAhead } from '../resources/mm/scan-ahead.ts';
import { findMixedCode } from '../resources/registers/mixed-code.ts';
import type { EarlyMappings } from './early-mappings.ts';
import type { FrozenTask } from './frozen-tree.ts';

/** The mappings of a task, and how they are described in the images. */
export interface SeenMappings extends DescribedVmas {
  readonly mappings: readonly SmapsEntry[];
  /** Where the page tables are, if they could be seen. */
  readonly topTable: bigint | undefined;
}

/** What the kernel says of the mappings of a task, and what came out. */
interface Seen extends Omit<SeenMappings, 'topTable'> {
  readonly raw: RawMappings | undefined;
  /** Where the heap begins is not in it. */
  readonly heapStart: number;
}

/** What it costs to read a task and each of its pages by smaps instead, and to make ready for that, in ns. */
const TASK_NS = 60_000;
const PAGE_NS = 60;
const READY_NS = 4_000_000;

/** Looks at tasks, in their order. */
export class MappingsLook {
  readonly #early: EarlyMappings | undefined;
  readonly #ahead: ScansAhead;
  readonly #files: FilesDump;
  readonly #problems: CriuErrorFields[];
  readonly #isQuick: boolean;
  #last: Seen | undefined = undefined;

  /** `ahead` begins to look for pages meanwhile, `problems` gets what speaks against a dump. */
  constructor(
    tasks: readonly FrozenTask[],
    early: EarlyMappings | undefined,
    ahead: ScansAhead,
    files: FilesDump,
    problems: CriuErrorFields[],
  ) {
    this.#early = early;
    this.#ahead = ahead;
    this.#files = files;
    this.#problems = problems;
    const cost = tasks.reduce((sum, { stat }) => sum + TASK_NS + stat.rss * PAGE_NS, 0);
    this.#isQuick = tasks.length > 1 && cost > READY_NS;
  }

  look(task: FrozenTask): SeenMappings {
    const before = this.#problems.length + this.#files.problems.length;
    const last = this.#last;
    const seen = this.#read(task);
    const { mappings, topTable } = seen;
    this.#problems.push(...findMixedCode(task, mappings));
    if (last?.mappings === mappings) return { mappings, topTable, ...copyOf(last) };
    const { vmas, special } = seen;
    for (const vma of special) {
      const file = vma.needsFile ? this.#files.registerMapping(task, vma.seen) : undefined;
      if (file !== undefined) assignFile(vma, file);
    }
    // Problems are told of each task.
    const isSound = this.#problems.length + this.#files.problems.length === before;
    const { raw, heapStart } = seen;
    this.#last = isSound && raw !== undefined ? { raw, heapStart, mappings, vmas: [...vmas], special } : undefined;
    return { mappings, topTable, vmas, special };
  }

  #read(task: FrozenTask): Seen & Pick<SeenMappings, 'topTable'> {
    const taken = this.#early?.tryTake(task);
    if (taken === undefined) this.#ahead.tryStart(task.pid);
    const last = this.#last;
    const heapStart = task.stat.startBrk;
    const alike = last?.heapStart === heapStart ? last.raw : undefined;
    const raw = taken?.raw ?? (this.#isQuick ? tryReadRaw(task.pid, alike) : undefined);
    const topTable = raw?.topTable;
    if (raw !== undefined && last?.raw !== undefined && isSameRaw(raw, last.raw)) return { ...last, topTable };
    if (taken !== undefined) return { ...taken, heapStart, topTable };
    const mappings = raw === undefined ? readMappings(task.pid) : understand(task.pid, raw);
    this.#ahead.tryContinue(task.pid, mappings);
    const { problems, ...described } = describeVmas(mappings, task.label);
    this.#problems.push(...problems);
    return { raw, heapStart, topTable, mappings, ...described };
  }
}

/** Entries are changed later, each for its own task. */
function copyOf({ vmas }: DescribedVmas): DescribedVmas {
  const copies = vmas.map((vma): DescribedVma => ({ ...vma, entry: { ...vma.entry } }));
  return { vmas: copies, special: copies.filter(({ isPlain }) => !isPlain) };
}
