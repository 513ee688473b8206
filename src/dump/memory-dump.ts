/**
 * The memory of a tree, in two steps: what must be copied while the tree is frozen, and what a twin can still give
 * when the tree runs. Without twins the first step is nearly all of it.
 */

import type { ImageDir } from '../image/image-dir.ts';
import { PAGE_BYTES } from '../image/pagemap.ts';
import { monotonicNs } from '../linux/clock.ts';
import { stopIfInterrupted } from '../linux/interrupts.ts';
import { bytesOf } from '../resources/mm/call-plan.ts';
import { type DumpRun, pagemapEntries, plainRun } from '../resources/mm/dump-pages.ts';
import { dumpSharedMemory, type MemoryObject } from '../resources/mm/dump-shared.ts';
import type { DescribedVma } from '../resources/mm/dump-vmas.ts';
import { copyPages, type PageCopy, PagesFile, type PlacedRun } from '../resources/mm/pages-file.ts';
import type { SharedPages } from '../resources/mm/shared-pages.ts';
import type { FrozenTask } from './frozen-tree.ts';
import type { Twins } from './twins.ts';

export interface DumpStatistics {
  pagesScanned: number;
  /** To the image folder itself. */
  pagesWritten: number;
  /** To folders that it refers to as its parents. */
  pagesInBase: number;
  pagesLazy: number;
  sharedPagesWritten: number;
  memdumpUs: number;
  memwriteUs: number;
}

/** A task and those of its pages that are dumped. */
export interface TaskPages {
  readonly task: FrozenTask;
  /** The number of its pages image. */
  readonly pagesId: number;
  readonly vmas: readonly DescribedVma[];
  readonly runs: readonly DumpRun[];
}

/** Told how much of the memory is written, in bytes. */
export type OnProgress = (doneBytes: number, totalBytes: number) => void;

/** Runs that the twin of a task has to give. */
interface Rest {
  readonly task: FrozenTask;
  readonly file: PagesFile;
  readonly runs: readonly PlacedRun[];
}

/** So many copies are made at the same time: all cores are busy, and descriptors are not used up. */
const COPIES_MAX = 64;

/** Pages that tasks share, or some of a big task, and the folder for them. */
export interface Base extends SharedPages {
  readonly images: ImageDir;
  /** When they are many: those from this index on are in a base of the base. */
  readonly rest: { readonly from: number; readonly images: ImageDir } | undefined;
}

/** What a pagemap image is made of. */
interface TaskPagemap {
  readonly images: ImageDir;
  readonly pid: number;
  readonly file: PagesFile;
  readonly runs: readonly DumpRun[];
}

export class MemoryDump {
  readonly statistics: DumpStatistics = {
    pagesScanned: 0,
    pagesWritten: 0,
    pagesInBase: 0,
    pagesLazy: 0,
    sharedPagesWritten: 0,
    memdumpUs: 0,
    memwriteUs: 0,
  };
  readonly #images: ImageDir;
  readonly #twins: Twins | undefined;
  readonly #onProgress: OnProgress | undefined;
  readonly #files: PagesFile[] = [];
  /** Copies that are to be made, and files that are complete afterwards. */
  readonly #waiting: PageCopy[] = [];
  readonly #complete: PagesFile[] = [];
  readonly #rests: Rest[] = [];
  /** Pagemaps that are to be written. */
  readonly #pagemaps: TaskPagemap[] = [];
  /** Tasks whose pages are counted when everything is done. */
  readonly #counted: (Pick<TaskPages, 'vmas' | 'runs'> & { readonly file: PagesFile })[] = [];
  #done = 0;
  #total = 0;

  constructor(images: ImageDir, twins: Twins | undefined, onProgress: OnProgress | undefined) {
    this.#images = images;
    this.#twins = twins;
    this.#onProgress = onProgress;
  }

  /**
   * Of each task what no twin has, while the tree is frozen; `meanwhile` is done beside the copying, or before it. Tasks
   * that twins have all of may be taken afterwards.
   */
  take(tasks: readonly TaskPages[], base: Base | undefined, meanwhile?: () => void): void {
    const bytes = tasks.map(({ runs }) => bytesOf(withoutBase(runs)));
    this.#total += bytes.reduce((sum, some) => sum + some, bytesOf(base?.base ?? []));
    this.#work(() => {
      if (base !== undefined) this.#takeBase(tasks, base);
      for (const { task, pagesId, vmas, runs } of tasks) {
        const file = this.#createFile(this.#images, pagesId);
        const hasRest = this.#take(task, file, file.place(withoutBase(runs)), tasks.length > 1);
        if (!hasRest) this.#complete.push(file);
        this.#pagemaps.push({ images: this.#images, pid: task.pid, file, runs });
        this.#counted.push({ vmas, runs, file });
      }
      this.#copyWaiting(meanwhile);
    });
  }

  /** Shared memory, while the tree is frozen. `firstId`: of the numbers that its pages images get. */
  takeShared(objects: readonly MemoryObject[], firstId: number): void {
    this.#work(() => {
      this.statistics.sharedPagesWritten = dumpSharedMemory(objects, this.#images, firstId);
    });
  }

  /** The rest; the tree may run. */
  complete(): void {
    this.#work(() => {
      for (const { task, file, runs } of this.#rests) {
        const twin = this.#twins?.of(task.pid);
        if (twin !== undefined) this.#copy({ pid: twin, file, runs, isShared: true });
      }
      this.#copyWaiting();
      this.#writePagemaps();
      for (const file of this.#files) file[Symbol.dispose]();
    });
    this.#count();
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

  #takeBase(tasks: readonly TaskPages[], { base, images, rest }: Base): void {
    const own = rest === undefined ? base : base.slice(0, rest.from);
    const others = rest === undefined ? [] : base.slice(rest.from);
    const whole = [...own.map(plainRun), ...others.map((run) => ({ ...plainRun(run), isInBase: true }))];
    this.#takeFolder(tasks, own, images, whole);
    if (rest !== undefined) this.#takeFolder(tasks, others, rest.images, others.map(plainRun));
  }

  /**
   * Pages that several tasks share go to one file in a folder of its own, and the pagemap of each of these tasks there has
   * all of them (`whole`), since places in a pages file follow from the pagemap.
   */
  #takeFolder(tasks: readonly TaskPages[], base: Base['base'], images: ImageDir, whole: readonly DumpRun[]): void {
    const file = this.#createFile(images, 1);
    const placed = file.place(base);
    for (const { task, runs } of tasks) {
      const own = placed.filter((_, i) => base[i]?.pid === task.pid);
      if (own.length > 0) this.#take(task, file, own, tasks.length > 1);
      if (runs.some(({ isInBase }) => isInBase)) this.#pagemaps.push({ images, pid: task.pid, file, runs: whole });
    }
    this.statistics.pagesInBase += file.pages;
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
    this.#copy({ pid: task.pid, file, runs: now, isShared: isShared || hasTwin });
    if (rest.length > 0) this.#rests.push({ task, file, runs: rest });
    return rest.length > 0;
  }

  /** Together with others, soon. */
  #copy(copy: PageCopy): void {
    this.#waiting.push(copy);
    if (this.#waiting.length >= COPIES_MAX) this.#copyWaiting();
  }

  #copyWaiting(meanwhile?: () => void): void {
    stopIfInterrupted();
    const onCopied = (bytes: number) => {
      this.#done += bytes;
      this.#onProgress?.(this.#done, this.#total);
    };
    // Beside the copying it takes no time, but a tree that is to go on must not wait for it.
    const others = () => {
      if (this.#twins === undefined) this.#writePagemaps();
      meanwhile?.();
    };
    this.#timed('memwriteUs', () => copyPages(this.#waiting.splice(0), onCopied, others));
    for (const file of this.#complete.splice(0)) file[Symbol.dispose]();
  }

  #writePagemaps(): void {
    for (const { images, pid, file, runs } of this.#pagemaps.splice(0)) {
      images.write('pagemap', pid, { head: { pages_id: file.id }, entries: pagemapEntries(runs) });
    }
  }

  #timed(field: 'memdumpUs' | 'memwriteUs', work: () => void): void {
    const started = monotonicNs();
    work();
    this.statistics[field] += Math.round((monotonicNs() - started) / 1000);
  }
}

function split(runs: readonly PlacedRun[]): [inTwin: PlacedRun[], others: PlacedRun[]] {
  return [runs.filter(({ isInTwin }) => isInTwin), runs.filter(({ isInTwin }) => !isInTwin)];
}

const withoutBase = (runs: readonly DumpRun[]) => runs.filter(({ isInBase }) => !isInBase);
