/**
 * Files that had lost their name when they were dumped, on the way back: which of them there are, by remap-fpath.img.
 * Making them is in name-holders.ts.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import { RemapType } from '../../../image/gen/remap-file-path.ts';
import { contextState } from '../context-state.ts';
import type { RestoreContext } from '../file-kind.ts';

/** How a file of files.img is found again. */
export type Remap =
  | { readonly kind: 'none'; readonly problem?: CriuErrorFields }
  /** It is made again from ghost image `ghostId`. */
  | { readonly kind: 'ghost'; readonly ghostId: number; readonly problem?: undefined }
  /** It has another name, which is removed after the restore. */
  | { readonly kind: 'linked'; readonly path: string; readonly problem?: undefined }
  /** It is a file of /proc of a process that had ended. */
  | { readonly kind: 'process'; readonly pid: number; readonly problem?: undefined };

/** Before remap_type existed, this bit of remap_id meant a ghost. */
const OLD_GHOST_BIT = 0x8000_0000;
const NONE: Remap = { kind: 'none' };

/** The remap of file `id`. */
export function remapOf(id: number, context: RestoreContext): Remap {
  return allRemaps(context).get(id) ?? NONE;
}

/** Whether the controller holds the file while the tree is restored. */
export function isHeld(id: number, context: RestoreContext): boolean {
  const { kind } = remapOf(id, context);
  return kind === 'ghost' || kind === 'linked';
}

/** All remaps, by file id. */
export const allRemaps = contextState('remaps', ({ images, tree }): ReadonlyMap<number, Remap> => {
  const remaps = new Map<number, Remap>();
  for (const entry of images.tryRead('remap-fpath') ?? []) {
    const isOldGhost = entry.remap_type === undefined && entry.remap_id >= OLD_GHOST_BIT;
    const type = entry.remap_type ?? (isOldGhost ? RemapType.GHOST : RemapType.LINKED);
    const id = isOldGhost ? entry.remap_id - OLD_GHOST_BIT : entry.remap_id;
    remaps.set(
      entry.orig_id,
      toRemap(type, id, tree.files.get(id)?.reg?.name, tree.files.get(entry.orig_id)?.reg?.name),
    );
  }
  return remaps;
});

function toRemap(type: RemapType, id: number, linkName: string | undefined, name: string | undefined): Remap {
  if (type === RemapType.GHOST) return { kind: 'ghost', ghostId: id };
  if (type === RemapType.PROCFS) return { kind: 'process', pid: id };
  if (linkName !== undefined) return { kind: 'linked', path: linkName };
  const object = name ?? `file ${id}`;
  const why = `remap-fpath.img sends it to file ${id}, which is not in files.img`;
  return { kind: 'none', problem: { object, action: 'cannot be restored', why } };
}
