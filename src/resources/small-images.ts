/**
 * Writes many small images that are files of their own, by a table of calls. `finish` has to be called in the end.
 */
import { IMAGE_FLAGS, IMAGE_MODE, type ImageDir } from '../image/image-dir.ts';
import { SmallFiles } from '../tracee/small-files.ts';

export interface SmallImagesOptions {
  /** How many there may be. */
  readonly count: number;
  /** The longest name that one of them can have. */
  readonly longestName: string;
  /** Room for an image; those that are longer are written one by one. */
  readonly bytes: number;
}

/** With fewer images the table would take longer than it saves. */
const MANY = 20;

export class SmallImages {
  readonly #images: ImageDir;
  readonly #files: SmallFiles | undefined;

  constructor(images: ImageDir, { count, longestName, bytes }: SmallImagesOptions) {
    this.#images = images;
    if (count < MANY || images.isInMemory) return;
    const pathBytes = images.rawPath(longestName).length + 1;
    const options = { count, pathBytes, bytes, flags: IMAGE_FLAGS, mode: IMAGE_MODE };
    // Once more, for the error.
    const failed = (path: string, image: Uint8Array) => images.writeFile(path.slice(images.path.length + 1), image);
    this.#files = new SmallFiles(options, failed);
  }

  /** The image is copied. */
  write(name: string, image: Uint8Array): void {
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
