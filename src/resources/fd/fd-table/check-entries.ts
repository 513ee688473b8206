/** What speaks against each file of files.img by itself. */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { RestoreContext } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';
import { FILE_KINDS } from '../registry.ts';
import { checkPlainFiles } from '../regular-file/check.ts';

export function checkEntries(context: RestoreContext): CriuErrorFields[] {
  const { files } = context.tree;
  const found: CriuErrorFields[] = [];
  const paths = new Set<number>();
  for (const kind of FILE_KINDS) {
    if (kind.pathEntry === undefined) continue;
    for (const entry of filesOfType(files, kind.type)) {
      const id = kind.pathEntry(entry);
      if (id !== undefined) paths.add(id);
    }
  }
  if (files.plain !== undefined) found.push(...checkPlainFiles(files.plain, (id) => paths.has(id), context));
  for (const kind of FILE_KINDS) {
    if (kind.check === undefined) continue;
    for (const entry of filesOfType(files, kind.type)) {
      if (paths.size > 0 && paths.has(entry.id)) continue;
      const problems = kind.check(entry, context);
      if (problems.length > 0) found.push(...problems);
    }
  }
  return found;
}
