/** The files of one kind: whoever wants a few of them need not look at thousands of others. */
import type { FdTypes, FileEntry } from '../../image/gen/fdinfo.ts';
import type { OpenFiles } from '../../image/open-files.ts';

const known = new WeakMap<OpenFiles, Map<FdTypes, FileEntry[]>>();
const NONE: readonly FileEntry[] = [];

/** The entries of that type, in their order, but for plain ones. The list must not change afterwards. */
export function filesOfType(files: OpenFiles, type: FdTypes): readonly FileEntry[] {
  let byType = known.get(files);
  if (byType === undefined) {
    byType = new Map();
    known.set(files, byType);
    let list: FileEntry[] = [];
    let type: FdTypes | undefined;
    for (const entry of files.values()) {
      if (entry.type !== type) {
        type = entry.type;
        list = byType.get(type) ?? [];
        byType.set(type, list);
      }
      list.push(entry);
    }
  }
  return byType.get(type) ?? NONE;
}
