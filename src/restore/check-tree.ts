/** What can be refused is refused here, all of it at once, before a process exists. */
import { type CriuErrorFields, CriuErrors } from '../base/errors.ts';
import type { ImageDir } from '../image/image-dir.ts';
import { findImageProblems } from '../image/validate.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { tryReadFile } from '../linux/syscalls/fs.ts';
import { parseStatus } from '../proc/status.ts';
import { checkRings } from '../resources/fd/packet-socket/ring-mappings.ts';
import type { RestoreTree } from './restore-tree.ts';

/** Throws CriuErrors: images that contradict each other, pids that somebody has. */
export function checkTree(tree: RestoreTree, images: ImageDir): void {
  const problems = findImageProblems(tree, {
    hasParent: images.openParent() !== undefined,
    pagesBytes: (id) => images.fileSize('pages', id),
  });
  problems.push(...tree.tasks.flatMap(checkRings));
  if (problems.length > 0) throw new CriuErrors('the images cannot be restored', problems);
  const taken = takenPids(tree);
  if (taken.length > 0) throw new CriuErrors('the process tree cannot be restored', taken);
}

/** Every pid and tid of the tree that is in use, and by whom. */
function takenPids(tree: RestoreTree): CriuErrorFields[] {
  return tree.members.flatMap((member) => {
    const tids = member.kind === 'task' ? member.threads.map(({ tid }) => tid) : [member.pid];
    return tids.flatMap((tid) => {
      const path = `/proc/${tid}/status`;
      const text = tryReadFile(path);
      if (typeof text === 'number') return [];
      const { name, tgid, state } = parseStatus(text, path);
      const isDead = state.startsWith('Z') ? ', a zombie that its parent has not waited for' : '';
      const who = tgid === tid ? `process ${tid} '${name}'${isDead}` : `a thread of process ${tgid} '${name}'`;
      return [
        {
          object: member.label,
          action: `pid ${tid} is in use by ${who}`,
          remedy: 'end that process, or restore in a new pid namespace',
          crErrno: ERRNO.EEXIST,
        },
      ];
    });
  });
}
