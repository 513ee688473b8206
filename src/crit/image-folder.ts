/**
 * A folder of images, read as far as it can be read: every problem is kept instead of being thrown, so that `verify`
 * finds all of them, and `tree` and `report` show what is left.
 */
import { CriuError } from '../base/errors.ts';
import type { CoreEntry, TaskKobjIdsEntry } from '../image/gen/core.ts';
import type { FdinfoEntry, FileEntry } from '../image/gen/fdinfo.ts';
import type { FsEntry } from '../image/gen/fs.ts';
import type { MmEntry } from '../image/gen/mm.ts';
import type { PstreeEntry } from '../image/gen/pstree.ts';
import { parseImage } from '../image/image-file.ts';
import {
  type ContentOf,
  type ElementOf,
  IMAGE_KINDS,
  type ImageKindName,
  imageFileName,
  type ListKindName,
  type Pagemap,
  type ParsedFileName,
  parseImageFileName,
} from '../image/image-kinds.ts';
import type { ImageReader } from '../image/image-reader.ts';
import {
  completeLeaderCore,
  completeMm,
  completeThreadCore,
  isOldTask,
  readFiles,
  withOldSeccomp,
} from '../image/old-images.ts';
import { TASK_DEAD, TASK_ZOMBIE } from '../image/task-state.ts';

/** Where the files come from; `ImageDir` is one. */
export interface ImageFiles {
  names(): string[];
  /** The bytes of a file; undefined when it is not there. */
  tryReadBytes(name: string): Uint8Array | undefined;
  /** A part of a pages image; shorter at its end, undefined when it is not there. */
  tryReadPages(pagesId: number, offset: number, bytes: number): Uint8Array | undefined;
  /** Size in bytes; undefined when it is not there. */
  fileSize(kind: ImageKindName, id?: number | string): number | undefined;
  /** The folder of the dump before; undefined when there is none. */
  openParent(): ImageFiles | undefined;
}

/** A task as the images describe it. What is missing or damaged is undefined. */
export interface TaskSet {
  readonly entry: PstreeEntry;
  readonly core: CoreEntry | undefined;
  /** Dead, and waits for its parent. */
  readonly isDead: boolean;
  readonly ids: TaskKobjIdsEntry | undefined;
  readonly mm: MmEntry | undefined;
  readonly pagemap: Pagemap | undefined;
  readonly fs: FsEntry | undefined;
  readonly fds: readonly FdinfoEntry[];
  /** The leader first. */
  readonly threads: readonly { readonly tid: number; readonly core: CoreEntry | undefined }[];
}

export class ImageFolder implements ImageReader {
  readonly files: ImageFiles;
  /** Everything that could not be read, each once. */
  readonly problems = new Set<string>();
  private readonly cache = new Map<string, unknown>();
  private cachedTasks: readonly TaskSet[] | undefined;
  private cachedFiles: ReadonlyMap<number, FileEntry> | undefined;

  constructor(files: ImageFiles) {
    this.files = files;
  }

  /** All images by their names, sorted; other files are left out. */
  images(): (ParsedFileName & { readonly name: string })[] {
    const found = this.files.names().flatMap((name) => {
      const parsed = parseImageFileName(name);
      return parsed === undefined ? [] : [{ ...parsed, name }];
    });
    return found.sort((a, b) => collator.compare(a.name, b.name));
  }

  /** An image; undefined when it is not there or damaged, which is kept as a problem. */
  tryRead<K extends ImageKindName>(kind: K, id?: number | string): ContentOf<K> | undefined {
    const name = imageFileName(kind, id);
    if (!this.cache.has(name))
      this.cache.set(
        name,
        this.attempt(() => this.read(kind, name)),
      );
    return this.cache.get(name) as ContentOf<K> | undefined;
  }

  tryFirst<K extends ListKindName>(kind: K, id?: number | string): ElementOf<K> | undefined {
    const [first] = (this.tryRead(kind, id) ?? []) as ElementOf<K>[];
    return first;
  }

  /** Reads every image that has messages, to find out which are damaged; returns how many there are. */
  readAll(): number {
    let count = 0;
    for (const { kind, name } of this.images()) {
      if (IMAGE_KINDS[kind].layout === 'raw') continue;
      count++;
      if (!this.cache.has(name))
        this.cache.set(
          name,
          this.attempt(() => this.read(kind, name)),
        );
    }
    return count;
  }

  /** Open files by their numbers. */
  get openFiles(): ReadonlyMap<number, FileEntry> {
    this.cachedFiles ??= new Map((this.attempt(() => readFiles(this)) ?? []).map((file) => [file.id, file]));
    return this.cachedFiles;
  }

  /** All tasks, in the order of the image. */
  get tasks(): readonly TaskSet[] {
    this.cachedTasks ??= (this.tryRead('pstree') ?? []).map((entry) => this.task(entry));
    return this.cachedTasks;
  }

  private task(entry: PstreeEntry): TaskSet {
    const { pid } = entry;
    const leader = this.tryFirst('core', pid);
    const isOld = leader !== undefined && isOldTask(leader);
    const whole = (core: CoreEntry | undefined, complete: (core: CoreEntry) => CoreEntry): CoreEntry | undefined => {
      if (core === undefined || leader === undefined) return core;
      return this.attempt(() => withOldSeccomp(isOld ? complete(core) : core, leader)) ?? core;
    };
    const core = whole(leader, (old) => completeLeaderCore(this, pid, old));
    const ids = this.tryFirst('ids', pid) ?? core?.ids;
    const mm = this.tryFirst('mm', pid);
    const threads = [...new Set([pid, ...entry.threads])].map((tid) => {
      const own = this.tryFirst('core', tid);
      return { tid, core: tid === pid ? core : whole(own, (old) => completeThreadCore(this, pid, tid, old)) };
    });
    const state = core?.tc?.task_state;
    return {
      entry,
      core,
      isDead: state === TASK_DEAD || state === TASK_ZOMBIE,
      ids,
      mm: mm === undefined ? undefined : completeMm(this, pid, mm),
      pagemap: this.tryRead('pagemap', pid),
      fs: this.tryFirst('fs', pid),
      fds: ids === undefined ? [] : (this.tryRead('fdinfo', ids.files_id) ?? []),
      threads,
    };
  }

  private read(kind: ImageKindName, name: string): unknown {
    const bytes = this.files.tryReadBytes(name);
    return bytes === undefined ? undefined : parseImage(kind, bytes, name);
  }

  private attempt<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof CriuError)) throw error;
      this.problems.add(error.message);
      return undefined;
    }
  }
}

/** "core-9" before "core-10". */
const collator = new Intl.Collator('en', { numeric: true });
