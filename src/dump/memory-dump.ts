/**
 * The memory of a tree, in two steps: what must be copied while the tree is frozen, and what a twin can still give
 * when the tree runs. Without twins the first step is nearly all of it.
 */
import type { ImageDir } from '../image/image-dir.ts';
import { PAGE_BYTES } from '../image/pagemap.ts';
import { stopIfInterrupted } from '../linux/interrupts.ts';
import type { Range } from '../resources/mm/address-space.ts';
import { type DumpRun, pagemapEntries } from '../resources/mm/dump-pages.ts';
import { dumpSharedMemory, type MemoryObject } from '../resources/mm/dump-shared.ts';
import type { DescribedVma } from '../resources/mm/dump-vmas.ts';
import { PagesFile, type PlacedRun } from '../resources/mm/pages-file.ts';
import type { SharedPages } from '../resources/mm/shared-pages.ts';
import type { FrozenTask } from './frozen-tree.ts';
import type { Twins } from './twins.ts';

export interface DumpStatistics {
  pagesScanned: number;
  pagesWritten: number;
  pagesLazy: number;
  sharedPagesWritten: number;
  memdumpUs: number;
  memwriteUs: number;
}

/** A task and those of its pages that are dumped. */
export interface TaskPages {
  readonly task: FrozenTask;
  readonly vmas: readonly DescribedVma[];
  /** Undefined as long as nobody has looked: a twin is asked when the tree runs. */
  readonly runs: readonly DumpRun[] | undefined;
}

/** Told how much of the memory is written, in bytes. */
export type OnProgress = (doneBytes: number, totalBytes: number) => void;

/** Runs that are copied from one task to one file. */
interface Copying {
  readonly task: FrozenTask;
  readonly file: PagesFile;
  /** Those that the twin has to give. */
  readonly rest: readonly PlacedRun[];
}

/** Pages that tasks share, and the folder for them. */
export interface Base extends SharedPages {
  readonly images: ImageDir;
}

/** A pagemap image that is written at the end. */
interface TaskPagemap {
  readonly images: ImageDir;
  readonly pid: number;
  readonly file: PagesFile;
  readonly runs: readonly DumpRun[];
}

/** A task whose pages are not known yet, and the number of its file. */
interface Later<T> {
  readonly one: T;
  readonly id: number;
}

export class MemoryDump<T extends TaskPages> {
  readonly statistics: DumpStatistics = {
    pagesScanned: 0,
    pagesWritten: 0,
    pagesLazy: 0,
    sharedPagesWritten: 0,
    memdumpUs: 0,
    memwriteUs: 0,
  };
  readonly #images: ImageDir;
  readonly #twins: Twins | undefined;
  readonly #onProgress: OnProgress | undefined;
  readonly #files: PagesFile[] = [];
  readonly #copying: Copying[] = [];
  readonly #pagemaps: TaskPagemap[] = [];
  /** Tasks whose pages are counted when everything is done. */
  readonly #counted: {
    readonly vmas: TaskPages['vmas'];
    readonly runs: readonly DumpRun[];
    readonly file: PagesFile;
  }[] = [];
  readonly #later: Later<T>[] = [];
  #done = 0;
  #total = 0;

  constructor(images: ImageDir, twins: Twins | undefined, onProgress: OnProgress | undefined) {
    this.#images = images;
    this.#twins = twins;
    this.#onProgress = onProgress;
  }

  /** While the tree is frozen: shared memory, and of each task what no twin has. */
  take(tasks: readonly T[], base: Base | undefined, objects: readonly MemoryObject[]): void {
    const bytes = tasks.map(({ runs = [] }) => bytesOf(withoutBase(runs)));
    this.#total = bytes.reduce((sum, some) => sum + some, bytesOf(base?.base ?? []));
    this.#work(() => {
      if (base !== undefined) this.#takeBase(tasks, base);
      tasks.forEach((one, i) => {
        if (one.runs === undefined) this.#later.push({ one, id: i + 1 });
        else this.#takeTask(one, one.runs, i + 1, tasks.length > 1);
      });
      this.statistics.sharedPagesWritten = dumpSharedMemory(objects, this.#images, tasks.length + 1);
    });
  }

  /** The rest; the tree may run. `find` asks a twin which pages a task has. */
  complete(find: (one: T, twin: number) => readonly DumpRun[]): void {
    this.#work(() => {
      for (const { one, id } of this.#later) {
        const runs = find(one, this.#twins?.of(one.task.pid) ?? -1);
        this.#total += bytesOf(runs);
        this.#takeTask(one, runs, id, true);
      }
      for (const { task, file, rest } of this.#copying) {
        const twin = this.#twins?.of(task.pid);
        if (twin !== undefined) this.#copy(twin, file, rest, true);
      }
      for (const { images, pid, file, runs } of this.#pagemaps) {
        file[Symbol.dispose]();
        images.write('pagemap', pid, { head: { pages_id: file.id }, entries: pagemapEntries(runs) });
      }
    });
    this.#count();
  }

  #takeTask({ task, vmas }: T, runs: readonly DumpRun[], id: number, isShared: boolean): void {
    const file = this.#createFile(this.#images, id);
    const hasRest = this.#take(task, file, file.place(withoutBase(runs)), isShared);
    if (!hasRest) file[Symbol.dispose]();
    this.#pagemaps.push({ images: this.#images, pid: task.pid, file, runs });
    this.#counted.push({ vmas, runs, file });
  }

  #count(): void {
    const { statistics } = this;
    for (const { vmas, runs, file } of this.#counted) {
      statistics.pagesWritten += file.pages;
      for (const { start, end, isLazy } of runs) if (isLazy) statistics.pagesLazy += (end - start) / PAGE_BYTES;
      for (const { entry } of vmas) statistics.pagesScanned += (entry.end - entry.start) / PAGE_BYTES;
    }
  }

  /** When it fails, nothing stays open. */
  #work(steps: () => void): void {
    try {
      this.#timed('memdumpUs', steps);
    } catch (error) {
      for (const file of this.#files) file[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Pages that several tasks share go to one file in a folder of its own, and the pagemap of each of these tasks there has
   * all of them, since places in a pages file follow from the pagemap.
   */
  #takeBase(tasks: readonly T[], { base, images }: Base): void {
    const file = this.#createFile(images, 1);
    const placed = file.place(base);
    const whole = base.map((run) => ({ ...run, isLazy: false, isInBase: false }));
    for (const { task, runs } of tasks) {
      const own = placed.filter((_, i) => base[i]?.pid === task.pid);
      if (own.length > 0) this.#take(task, file, own, true);
      if (runs?.some(({ isInBase }) => isInBase) === true)
        this.#pagemaps.push({ images, pid: task.pid, file, runs: whole });
    }
    this.statistics.pagesWritten += file.pages;
  }

  #createFile(images: ImageDir, id: number): PagesFile {
    const file = new PagesFile(images, id);
    this.#files.push(file);
    return file;
  }

  /** True when the twin has to give the rest. */
  #take(task: FrozenTask, file: PagesFile, placed: readonly PlacedRun[], isShared: boolean): boolean {
    const hasTwin = this.#twins?.of(task.pid) !== undefined;
    const [rest, now] = hasTwin ? split(placed) : [[], placed];
    this.#copy(task.pid, file, now, isShared || hasTwin);
    if (rest.length > 0) this.#copying.push({ task, file, rest });
    return rest.length > 0;
  }

  #copy(pid: number, file: PagesFile, runs: readonly PlacedRun[], isShared: boolean): void {
    stopIfInterrupted();
    this.#timed('memwriteUs', () =>
      file.copy(pid, runs, isShared, (bytes) => {
        this.#done += bytes;
        this.#onProgress?.(this.#done, this.#total);
      }),
    );
  }

  #timed(field: 'memdumpUs' | 'memwriteUs', work: () => void): void {
    const started = Bun.nanoseconds();
    work();
    this.statistics[field] += Math.round((Bun.nanoseconds() - started) / 1000);
  }
}

function split(runs: readonly PlacedRun[]): [inTwin: PlacedRun[], others: PlacedRun[]] {
  return [runs.filter(({ isInTwin }) => isInTwin), runs.filter(({ isInTwin }) => !isInTwin)];
}

const withoutBase = (runs: readonly DumpRun[]) => runs.filter(({ isInBase }) => !isInBase);
const bytesOf = (ranges: readonly Range[]) => ranges.reduce((sum, { start, end }) => sum + end - start, 0);
