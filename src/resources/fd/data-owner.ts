/** Data in images that belong to a file which is not there: leaving them out in silence would lose them. */
import { ImageError } from '../../image/image-error.ts';
import { imageFileName } from '../../image/image-kinds.ts';
import type { DataImage } from './file-kind.ts';

export function withoutOwner(image: DataImage, entry: number, field: string, id: number): ImageError {
  return new ImageError({ file: imageFileName(image), entry }, field, `${id} is not among the open files`);
}
