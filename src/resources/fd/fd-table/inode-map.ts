/** A map by inode and more: thousands of entries without a string for each key. */
import type { OpenFile } from '../file-kind.ts';

interface Entry<T> {
  readonly dev: number;
  readonly mntId: number;
  readonly link: string;
  readonly value: T;
  /** Another one with the same inode number. */
  next: Entry<T> | undefined;
}

/** Values by what a file is: device, inode, mount, and the path that it was reached by. The first value of a key stays. */
export class PathMap<T> {
  readonly #byInode = new Map<number, Entry<T>>();

  get(file: OpenFile): T | undefined {
    const first = this.#byInode.get(file.stat.st_ino);
    return first && find(first, file)?.value;
  }

  add(file: OpenFile, value: T): void {
    const { stat, mntId, link } = file;
    const first = this.#byInode.get(stat.st_ino);
    // Many descriptors of one file: only the first of them counts.
    if (first !== undefined && find(first, file) !== undefined) return;
    const entry = { dev: stat.st_dev, mntId, link, value, next: first?.next };
    if (first === undefined) this.#byInode.set(stat.st_ino, entry);
    else first.next = entry;
  }
}

function find<T>(first: Entry<T>, { stat, mntId, link }: OpenFile): Entry<T> | undefined {
  let entry: Entry<T> | undefined = first;
  while (entry !== undefined) {
    if (entry.dev === stat.st_dev && entry.mntId === mntId && entry.link === link) return entry;
    entry = entry.next;
  }
  return undefined;
}
