/** What reads images by kind and number: a folder on disk (image-dir.ts), or bytes that are in memory already. */
import { parseImage } from './image-file.ts';
import { type ContentOf, type ElementOf, type ImageKindName, imageFileName, type ListKindName } from './image-kinds.ts';

export interface ImageReader {
  /** An image; undefined when there is none. Throws an ImageError when it is damaged. */
  tryRead<K extends ImageKindName>(kind: K, id?: number | string): ContentOf<K> | undefined;
}

/** Images whose bytes come from a function. */
export class BytesReader implements ImageReader {
  private readonly tryBytes: (name: string) => Uint8Array | undefined;

  constructor(tryBytes: (name: string) => Uint8Array | undefined) {
    this.tryBytes = tryBytes;
  }

  tryRead<K extends ImageKindName>(kind: K, id?: number | string): ContentOf<K> | undefined {
    const name = imageFileName(kind, id);
    const bytes = this.tryBytes(name);
    return bytes === undefined ? undefined : parseImage(kind, bytes, name);
  }

  /** The first entry; undefined when there is none. */
  tryFirst<K extends ListKindName>(kind: K, id?: number | string): ElementOf<K> | undefined {
    const [first] = (this.tryRead(kind, id) ?? []) as ElementOf<K>[];
    return first;
  }
}
