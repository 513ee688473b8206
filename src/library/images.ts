/** A folder of images, read: the tasks in it, and the entries of any image. For programs on Bun. */

import { ImageDir } from '../image/image-dir.ts';
import type { ContentOf, ImageKindName } from '../image/image-kinds.ts';
import { toText } from './request-options.ts';

/** A task of a checkpoint, with its children. */
export interface ImageTask {
  readonly pid: number;
  readonly name: string;
  readonly threads: readonly number[];
  readonly children: readonly ImageTask[];
}

export class CheckpointImages {
  readonly #images: ImageDir;

  /** Throws CriuError when there is no such folder. */
  constructor(folder: string) {
    this.#images = ImageDir.open(Buffer.from(folder, 'utf8').toString('latin1'));
  }

  /** What an image says: `entries('mm', 1234)`, `entries('inventory')`. Undefined when there is none. Throws CriuError. */
  entries<K extends ImageKindName>(kind: K, id?: number): ContentOf<K> | undefined {
    return this.#images.tryRead(kind, id);
  }

  /** The tree of tasks. Throws CriuError when the folder has no checkpoint, or a damaged one. */
  tree(): ImageTask {
    const members = this.#images.read('pstree');
    const childrenOf = Map.groupBy(members, ({ ppid }) => ppid);
    const taskOf = (pid: number, threads: readonly number[]): ImageTask => {
      const children = childrenOf.get(pid) ?? [];
      // Damaged images may have circles.
      childrenOf.delete(pid);
      const name = toText(this.#images.tryRead('core', pid)?.[0]?.tc?.comm ?? '');
      return { pid, name, threads, children: children.map((child) => taskOf(child.pid, child.threads)) };
    };
    const pids = new Set(members.map(({ pid }) => pid));
    const root = members.find(({ ppid }) => !pids.has(ppid));
    return taskOf(root?.pid ?? 0, root?.threads ?? []);
  }
}
