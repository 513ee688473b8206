/** Images of which there is one for each thread, task or connection: read in one go, as far as they are small and sound. */
import { AlikeImages } from '../image/alike-images.ts';
import type { ImageDir } from '../image/image-dir.ts';
import { SmallFiles } from '../tracee/file-column.ts';

/**
 * Holds images of these names for whoever reads them next. The first `alikeCount` of them are alike, and decoded faster when
 * they are read with what this returns. Images of more than `bytes` bytes are left to be read one by one.
 */
export function readAhead(
  images: ImageDir,
  names: readonly string[],
  bytes: number,
  alikeCount = names.length,
): AlikeImages {
  const alike: { readonly name: string; readonly bytes: Uint8Array }[] = [];
  let sum = 0;
  const take = (content: Uint8Array | number, i: number) => {
    if (typeof content === 'number') return;
    const [name = '', bytes] = [names[i], content.slice()];
    if (i >= alikeCount) {
      images.hold(name, bytes);
      return;
    }
    alike.push({ name, bytes });
    sum += bytes.length;
  };
  const paths = names.map((name) => images.rawPath(name));
  const pathBytes = paths.reduce((most, { length }) => Math.max(most, length), 0) + 1;
  new SmallFiles(bytes, { pathBytes, mustBeRegular: true }).read(paths, take);
  const all = new AlikeImages(sum);
  for (const { name, bytes } of alike) images.hold(name, all.add(bytes));
  return all;
}
