/**
 * Writes the cores of threads. Most threads of a process are alike, so an image is made out of one before, whose numbers are
 * exchanged for those of the next thread.
 */
import { encode } from '../image/codec.ts';
import { CoreEntry } from '../image/gen/core.ts';
import type { ImageDir } from '../image/image-dir.ts';
import { imageFileName } from '../image/image-kinds.ts';
import { NumberPatches } from '../image/number-patches.ts';
import { wrapEncoded } from '../image/serialize-image.ts';
import { WireWriter } from '../image/wire-writer.ts';
import { SmallImages } from '../resources/small-images.ts';
import { OWN_NUMBERS } from '../resources/task/dump-thread.ts';

/** The core of a thread. */
export interface DescribedCore {
  readonly tid: number;
  /** All of it. */
  describe(): CoreEntry;
  /** It is that of this thread, one of the last that were described, but for some numbers, which are overwritten for the next. */
  readonly like: { readonly tid: number; readonly numbers: Uint32Array } | undefined;
}

/** Room for an image; most have about 1000 bytes. */
const IMAGE_BYTES = 4096;

/** A core that was described as a whole, and becomes that of others. */
interface Example {
  readonly tid: number;
  /** The number of its cgroups. */
  readonly cgSet: number;
  readonly message: Uint8Array;
  patches: NumberPatches | undefined;
}

/** So many are kept: threads differ in the state of the FPU, of which two are usual. */
export const EXAMPLES_MAX = 4;

export class CoreImages {
  readonly #files: SmallImages;
  readonly #writer = new WireWriter(IMAGE_BYTES);
  readonly #examples: Example[] = [];

  /** For `count` threads. */
  constructor(images: ImageDir, count: number) {
    this.#files = new SmallImages(images, { count, longestName: imageFileName('core', TID_MAX), bytes: IMAGE_BYTES });
  }

  /** `complete` adds what the description does not have. */
  write({ tid, like, describe }: DescribedCore, cgSet: number, complete: (core: CoreEntry) => CoreEntry): void {
    const example = like && this.#examples.find((one) => one.tid === like.tid && one.cgSet === cgSet);
    if (like !== undefined && example !== undefined) {
      example.patches ??= new NumberPatches(CoreEntry, example.message, OWN_NUMBERS);
      if (example.patches.trySet(like.numbers)) {
        this.#write(tid, wrapEncoded('core', example.patches.message, this.#writer));
        return;
      }
    }
    const message = encode(CoreEntry, complete(describe()), imageFileName('core', tid));
    if (this.#examples.unshift({ tid, cgSet, message, patches: undefined }) > EXAMPLES_MAX) this.#examples.pop();
    this.#write(tid, wrapEncoded('core', message, this.#writer));
  }

  #write(tid: number, image: Uint8Array): void {
    this.#files.write(imageFileName('core', tid), image);
  }

  /** All of them are there afterwards. */
  finish(): void {
    this.#files.finish();
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }
}

/** The highest number that a thread can have (include/linux/threads.h, PID_MAX_LIMIT). */
const TID_MAX = 1 << 22;
