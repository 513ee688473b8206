/** Images of a folder that is not there, for tests: what they hold, and their bytes. */
import type { ImageDir } from './image-dir.ts';
import { type ContentOf, type ImageKindName, imageFileName } from './image-kinds.ts';
import { serializeImage } from './serialize-image.ts';

type Contents = { readonly [K in ImageKindName]?: ContentOf<K> };

export function imagesWith(contents: Contents): ImageDir {
  const kinds = Object.keys(contents) as ImageKindName[];
  const images = {
    tryRead: <K extends ImageKindName>(kind: K) => contents[kind],
    tryReadBytes(name: string) {
      const kind = kinds.find((one) => imageFileName(one) === name);
      const content = kind && contents[kind];
      return kind === undefined || content === undefined ? undefined : serializeImage(kind, content as never);
    },
  };
  return images as unknown as ImageDir;
}
