/**
 * Room for the pages of big tasks, made before the tree is frozen: what a frozen page then costs is one memcpy. The size
 * is a guess from the running tree; a task that grows in between gets the rest of its room while it is frozen.
 */
import type { ImageDir } from '../../image/image-dir.ts';
import { tryListDirectory, tryReadProc } from '../../linux/syscalls/fs.ts';
import { parseChildren } from '../../proc/small.ts';
import { PagesFile } from './dump-pages.ts';

/** Smaller tasks are not worth while. */
const PREPARED_BYTES_MIN = 16 << 20;
/** So many threads of a task are asked for their children: this is a guess, not worth a call for each of thousands. */
const THREADS_MAX = 32;
const PAGE = 4096;
/** For what comes on top of the anonymous memory: the vdso, and what the task touches until it is frozen. */
const SPARE_BYTES = 1 << 20;

export class PreparedPages {
  readonly #files = new Map<number, PagesFile>();
  #nextId = 1;

  /** The first number for pages files that nobody has yet. */
  get nextId(): number {
    return this.#nextId;
  }

  /** Makes a pages file for each big task below `root`. Throws CriuError when the disk is full. */
  prepare(root: number, images: ImageDir): void {
    const pids = [root];
    for (const pid of pids) {
      pids.push(...childrenOf(pid));
      const bytes = anonymousBytes(pid);
      if (bytes < PREPARED_BYTES_MIN) continue;
      const file = new PagesFile(images, this.#nextId++);
      this.#files.set(pid, file);
      file.prepare(bytes + SPARE_BYTES);
    }
  }

  /** The file of a task: the one that was made for it, or a new one. */
  fileOf(pid: number, images: ImageDir): PagesFile {
    const file = this.#files.get(pid) ?? new PagesFile(images, this.#nextId++);
    this.#files.set(pid, file);
    return file;
  }

  /** Closes and unmaps all files. */
  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file[Symbol.dispose]();
    this.#files.clear();
  }
}

function childrenOf(pid: number): number[] {
  const tids = tryListDirectory(`/proc/${pid}/task`);
  const children: number[] = [];
  if (typeof tids === 'number') return children;
  for (let i = 0; i < tids.length && i < THREADS_MAX; i++) {
    const text = tryReadProc(`/proc/${pid}/task/${tids[i]}/children`);
    if (typeof text === 'string' && text !== '') children.push(...parseChildren(text));
  }
  return children;
}

/** Resident memory of a task that is not of files, in bytes (man 5 proc_pid_statm); 0 when it is gone. */
function anonymousBytes(pid: number): number {
  const text = tryReadProc(`/proc/${pid}/statm`);
  const pages = typeof text === 'string' ? text.split(' ') : [];
  return (Number(pages[1] ?? 0) - Number(pages[2] ?? 0)) * PAGE;
}
