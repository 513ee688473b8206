/**
 * FIFOs (man 7 fifo): pipes with a name in the file system. The image has an entry of its own for the name, in the form
 * of a regular file; content and size are kept as for pipes.
 */
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import {
  AT_FDCWD,
  O_ACCMODE,
  O_NONBLOCK,
  O_PATH,
  O_RDWR,
  O_WRONLY,
  S_IFIFO,
  S_IFMT,
} from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FileKind, RestoreHome } from '../file-kind.ts';
import { dumpPipeData, isAnonymousPipe, pipeContent, pipeId, planPipeContent } from '../pipe/pipe-data.ts';
import { openFlags } from '../regular-file/create-files.ts';
import { dumpRegularFile } from '../regular-file/regular-file.ts';

export const fifo: FileKind = {
  type: FdTypes.FIFO,

  recognise: (file) =>
    (file.stat.st_mode & S_IFMT) === S_IFIFO && (file.flags & O_PATH) === 0 && !isAnonymousPipe(file),

  dump(file, id, dump) {
    const nameId = dump.nextFileId();
    const name = dumpRegularFile(file, nameId, dump);
    if ('unsupported' in name) return name;
    if ((file.flags & O_ACCMODE) !== O_WRONLY) {
      const problem = dumpPipeData('fifo-data', file, dump);
      if (problem !== undefined) return problem;
    }
    dump.addEntry(name);
    return { type: FdTypes.FIFO, id, fifo: { id, pipe_id: pipeId(file), regf_id: nameId } };
  },

  /** Together, so that the first one made fills it, and it stays open until all are. */
  groupKey: (entry) => entry.fifo?.pipe_id ?? -1,

  create(entries, home) {
    const [first] = entries;
    if (first?.fifo === undefined) return;
    const { table, context } = home;
    const nameId = first.fifo.regf_id ?? first.fifo.id;
    const name = context.tree.files.get(nameId)?.reg?.name ?? 'a FIFO';
    // An end would wait for the other one to be opened; this one is both.
    const flags = O_RDWR | O_NONBLOCK;
    const both = table.open(`open ${name}`, SYS.openat, AT_FDCWD, context.pathOf(nameId), flags);
    planPipeContent(table, both, name, pipeContent('fifo-data', first.fifo.pipe_id, context));
    for (const { fifo: entry } of entries) if (entry !== undefined) openEnd(entry.id, entry.regf_id ?? entry.id, home);
    table.close(both);
  },

  fown: (entry, tree) => tree.files.get(entry.fifo?.regf_id ?? entry.id)?.reg?.fown,
};

function openEnd(id: number, nameId: number, { table, context, cloexec, made }: RestoreHome): void {
  const reg = context.tree.files.get(nameId)?.reg;
  const flags = openFlags(reg?.flags ?? 0) | cloexec(id);
  const because = `open ${reg?.name ?? 'a FIFO'}`;
  made(id, table.open(because, SYS.openat, AT_FDCWD, context.pathOf(nameId), flags), cloexec(id) !== 0);
}
