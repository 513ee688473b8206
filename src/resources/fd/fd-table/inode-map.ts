/** A map by inode and more: thousands of entries without a string for each key. */
import type { OpenFile } from '../file-kind.ts';

interface Entry<T> {
  readonly dev: number;
  readonly mntId: number;
  readonly link: string;
  readonly value: T;
}

/** Values by what a file is: device, inode, mount, and the path that it was reached by. The first value of a key stays. */
export class PathMap<T> {
  readonly #byInode = new Map<number, Entry<T>[]>();

  get({ stat, mntId, link }: OpenFile): T | undefined {
    const isSame = (entry: Entry<T>) => entry.dev === stat.st_dev && entry.mntId === mntId && entry.link === link;
    return this.#byInode.get(stat.st_ino)?.find(isSame)?.value;
  }

  add(file: OpenFile, value: T): void {
    const { stat, mntId, link } = file;
    const entry = { dev: stat.st_dev, mntId, link, value };
    const entries = this.#byInode.get(stat.st_ino);
    if (entries === undefined) this.#byInode.set(stat.st_ino, [entry]);
    // Many descriptors of one file: only the first of them counts.
    else if (this.get(file) === undefined) entries.push(entry);
  }
}
