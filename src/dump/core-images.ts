/**
 * Writes the cores of threads. Most threads of a process are alike, so an image is made out of one before, whose numbers are
 * exchanged for those of the next thread.
 */
import { encode } from '../image/codec.ts';
import { CoreEntry } from '../image/gen/core.ts';
import { IMAGE_FLAGS, IMAGE_MODE, type ImageDir } from '../image/image-dir.ts';
import { imageFileName } from '../image/image-kinds.ts';
import { NumberPatches } from '../image/number-patches.ts';
import { wrapEncoded } from '../image/serialize-image.ts';
import { WireWriter } from '../image/wire-writer.ts';
import { OWN_NUMBERS } from '../resources/task/dump-thread.ts';
import { SmallFiles } from '../tracee/small-files.ts';

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
  readonly #images: ImageDir;
  readonly #files: SmallFiles | undefined;
  readonly #writer = new WireWriter(IMAGE_BYTES);
  readonly #examples: Example[] = [];

  /** For `count` threads. */
  constructor(images: ImageDir, count: number) {
    this.#images = images;
    if (count < MANY || images.isInMemory) return;
    const pathBytes = images.rawPath(imageFileName('core', TID_MAX)).length + 1;
    const options = { count, pathBytes, bytes: IMAGE_BYTES, flags: IMAGE_FLAGS, mode: IMAGE_MODE };
    // Once more, for the error.
    const failed = (path: string, image: Uint8Array) => images.writeFile(path.slice(images.path.length + 1), image);
    this.#files = new SmallFiles(options, failed);
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
    const name = imageFileName('core', tid);
    if (this.#files?.tryAdd(this.#images.rawPath(name), image) === true) this.#images.recordCreated(name);
    else this.#images.writeFile(name, image);
  }

  /** All of them are there afterwards. */
  finish(): void {
    this.#files?.flush();
  }

  [Symbol.dispose](): void {
    this.#files?.[Symbol.dispose]();
  }
}

/** With fewer threads the table would take longer than it saves. */
const MANY = 20;
/** The highest number that a thread can have (include/linux/threads.h, PID_MAX_LIMIT). */
const TID_MAX = 1 << 22;
