/**
 * Writes the cores of threads. Most threads of a process are alike, so an image is made out of the one before, whose numbers
 * are exchanged for those of the next thread.
 */
import { encode } from '../image/codec.ts';
import { CoreEntry } from '../image/gen/core.ts';
import type { ImageDir } from '../image/image-dir.ts';
import { NumberPatches } from '../image/number-patches.ts';
import { OWN_NUMBERS } from '../resources/task/dump-thread.ts';

/** The core of a thread. */
export interface DescribedCore {
  readonly tid: number;
  /** All of it. */
  describe(): CoreEntry;
  /** It is that of the thread before but for these numbers; they are overwritten for the next. */
  readonly numbers: Uint32Array | undefined;
}

export class CoreImages {
  readonly #images: ImageDir;
  /** What was written last, and the number of its cgroups. */
  #last: { core: CoreEntry; cgSet: number; patches: NumberPatches | undefined } | undefined;

  constructor(images: ImageDir) {
    this.#images = images;
  }

  /** `complete` adds what the description does not have. */
  write({ tid, numbers, describe }: DescribedCore, cgSet: number, complete: (core: CoreEntry) => CoreEntry): void {
    const last = this.#last;
    if (numbers !== undefined && last !== undefined && last.cgSet === cgSet) {
      last.patches ??= new NumberPatches(CoreEntry, encode(CoreEntry, last.core), OWN_NUMBERS);
      if (last.patches.trySet(numbers)) {
        this.#images.writeEncoded('core', tid, last.patches.message);
        return;
      }
    }
    const core = complete(describe());
    this.#last = { core, cgSet, patches: undefined };
    this.#images.write('core', tid, [core]);
  }
}
