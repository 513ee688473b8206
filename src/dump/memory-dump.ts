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
  readonly runs: readonly DumpRun[];
}

/** Told how much of the memory is written, in bytes. */
export type OnProgress = (doneBytes: number, totalBytes: number) => void;

interface Taken {
  readonly task: FrozenTask;
  readonly file: PagesFile;
  readonly runs: readonly DumpRun[];
  /** Runs that the twin has to give. */
  readonly rest: readonly PlacedRun[];
}

export class MemoryDump {
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
  readonly #taken: Taken[] = [];
  #done = 0;
  #total = 0;

  constructor(images: ImageDir, twins: Twins | undefined, onProgress: OnProgress | undefined) {
    this.#images = images;
    this.#twins = twins;
    this.#onProgress = onProgress;
  }

  /** While the tree is frozen: shared memory, and of each task what no twin has. */
  take(tasks: readonly TaskPages[], objects: readonly MemoryObject[]): void {
    this.#total = tasks.reduce((sum, { runs }) => sum + bytesOf(runs), 0);
    this.#work(() => {
      for (const task of tasks) this.#takeTask(task, tasks.length > 1);
      this.statistics.sharedPagesWritten = dumpSharedMemory(objects, this.#images, this.#taken.length + 1);
    });
  }

  /** The rest; the tree may run. */
  complete(): void {
    this.#work(() => {
      for (const { task, file, runs, rest } of this.#taken) {
        const twin = this.#twins?.of(task.pid);
        if (twin !== undefined) this.#copy(twin, file, rest, true);
        file[Symbol.dispose]();
        this.#images.write('pagemap', task.pid, { head: { pages_id: file.id }, entries: pagemapEntries(runs) });
      }
    });
  }

  /** When it fails, nothing stays open. */
  #work(steps: () => void): void {
    try {
      this.#timed('memdumpUs', steps);
    } catch (error) {
      for (const { file } of this.#taken) file[Symbol.dispose]();
      throw error;
    }
  }

  #takeTask({ task, vmas, runs }: TaskPages, isShared: boolean): void {
    const file = new PagesFile(this.#images, this.#taken.length + 1);
    const placed = file.place(runs);
    const hasTwin = this.#twins?.of(task.pid) !== undefined;
    const [rest, now] = hasTwin ? split(placed) : [[], placed];
    this.#taken.push({ task, file, runs, rest });
    this.#copy(task.pid, file, now, isShared || hasTwin);
    if (rest.length === 0) file[Symbol.dispose]();
    this.statistics.pagesWritten += file.pages;
    this.statistics.pagesLazy += bytesOf(runs.filter(({ isLazy }) => isLazy)) / PAGE_BYTES;
    this.statistics.pagesScanned += bytesOf(vmas.map(({ entry }) => entry)) / PAGE_BYTES;
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

const bytesOf = (ranges: readonly Range[]) => ranges.reduce((sum, { start, end }) => sum + end - start, 0);
