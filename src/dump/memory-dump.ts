/**
 * The memory of a tree, in two steps: what must be copied while the tree is frozen, and what a twin can still give
 * when the tree runs. Without twins the first step is nearly all of it.
 */
import type { ImageDir } from '../image/image-dir.ts';
import { PAGE_BYTES } from '../image/pagemap.ts';
import { stopIfInterrupted } from '../linux/interrupts.ts';
import type { Range } from '../resources/mm/address-space.ts';
import { copyRuns, type DumpRun, type PagesFile, type PlacedRun, pagemapEntries } from '../resources/mm/dump-pages.ts';
import { dumpSharedMemory, type MemoryObject } from '../resources/mm/dump-shared.ts';
import type { DescribedVma } from '../resources/mm/dump-vmas.ts';
import type { PreparedPages } from '../resources/mm/prepared-pages.ts';
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
  readonly #prepared: PreparedPages;
  readonly #twins: Twins | undefined;
  readonly #onProgress: OnProgress | undefined;
  readonly #taken: Taken[] = [];
  #done = 0;
  #total = 0;

  constructor(images: ImageDir, prepared: PreparedPages, twins: Twins | undefined, onProgress: OnProgress | undefined) {
    this.#images = images;
    this.#prepared = prepared;
    this.#twins = twins;
    this.#onProgress = onProgress;
  }

  /** While the tree is frozen: shared memory, and of each task what no twin has. */
  take(tasks: readonly TaskPages[], objects: readonly MemoryObject[]): void {
    this.#timed('memdumpUs', () => {
      this.#total = tasks.reduce((sum, { runs }) => sum + bytesOf(runs), 0);
      for (const task of tasks) this.#takeTask(task);
      this.statistics.sharedPagesWritten = dumpSharedMemory(objects, this.#images, this.#prepared.nextId);
    });
  }

  /** The rest; the tree may run. */
  complete(): void {
    this.#timed('memdumpUs', () => {
      for (const { task, file, runs, rest } of this.#taken) {
        const twin = this.#twins?.of(task.pid);
        if (twin !== undefined) this.#copy(twin, rest);
        file.close();
        this.#images.write('pagemap', task.pid, { head: { pages_id: file.id }, entries: pagemapEntries(runs) });
      }
    });
  }

  #takeTask({ task, vmas, runs }: TaskPages): void {
    const file = this.#prepared.fileOf(task.pid, this.#images);
    const placed = file.place(runs);
    const hasTwin = this.#twins?.of(task.pid) !== undefined;
    const [rest, now] = hasTwin ? split(placed) : [[], placed];
    this.#copy(task.pid, now);
    this.#taken.push({ task, file, runs, rest });
    this.statistics.pagesWritten += file.pages;
    this.statistics.pagesLazy += bytesOf(runs.filter(({ isLazy }) => isLazy)) / PAGE_BYTES;
    this.statistics.pagesScanned += bytesOf(vmas.map(({ entry }) => entry)) / PAGE_BYTES;
  }

  #copy(pid: number, runs: readonly PlacedRun[]): void {
    stopIfInterrupted();
    this.#timed('memwriteUs', () =>
      copyRuns(pid, runs, (bytes) => {
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
