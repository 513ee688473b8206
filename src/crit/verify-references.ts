/** What open files, memory and namespaces refer to must be in an image of its own: data, ghosts, terminals, segments. */

import { composeMessage } from '../base/errors.ts';
import { RemapType } from '../image/gen/remap-file-path.ts';
import { imageFileName } from '../image/image-kinds.ts';
import { findPagemapProblems } from '../image/validate-memory.ts';
import type { ImageFolder } from './image-folder.ts';

/** The top bit of remap_id: the number of a ghost file. */
const REMAP_GHOST = 0x8000_0000;

export function findReferenceProblems(folder: ImageFolder): string[] {
  return [
    ...findRemapProblems(folder),
    ...findDataProblems(folder),
    ...findTargetProblems(folder),
    ...findSharedMemoryProblems(folder),
    ...findSeccompProblems(folder),
  ];
}

/** Deleted files: their content, or the file they are remapped to. */
function findRemapProblems(folder: ImageFolder): string[] {
  const names = new Set(folder.files.names());
  const pids = new Set(folder.tasks.flatMap(({ threads }) => threads.map(({ tid }) => tid)));
  return (folder.tryRead('remap-fpath') ?? []).flatMap(({ orig_id, remap_id, remap_type }, entry) => {
    const at = `remap-fpath.img: entry ${entry}`;
    const problems: string[] = [];
    if (!folder.openFiles.has(orig_id)) problems.push(`${at}: orig_id: file ${orig_id} is not among the open files`);
    const type = remap_type ?? ((remap_id & REMAP_GHOST) === 0 ? RemapType.LINKED : RemapType.GHOST);
    const ghost = imageFileName('ghost-file', remap_id & ~REMAP_GHOST);
    if (type === RemapType.GHOST && !names.has(ghost)) problems.push(`${at}: remap_id: ${ghost} is not there`);
    if (type === RemapType.LINKED && !folder.openFiles.has(remap_id)) {
      problems.push(`${at}: remap_id: file ${remap_id} is not among the open files`);
    }
    if (type === RemapType.PROCFS && !pids.has(remap_id)) {
      problems.push(`${at}: remap_id: task ${remap_id} is not in the tree`);
    }
    return problems;
  });
}

/** Data that wait in pipes and sockets belong to one that is there. */
function findDataProblems(folder: ImageFolder): string[] {
  const files = [...folder.openFiles.values()];
  const pipes = new Set(files.flatMap(({ pipe }) => pipe?.pipe_id ?? []));
  const fifos = new Set(files.flatMap(({ fifo }) => fifo?.pipe_id ?? []));
  const sockets = new Set(files.flatMap(({ usk, isk, nlsk, psk }) => usk?.id ?? isk?.id ?? nlsk?.id ?? psk?.id ?? []));
  const problems: string[] = [];
  const check = (name: string, field: string, ids: readonly number[], known: ReadonlySet<number>): void => {
    for (const [entry, id] of ids.entries()) {
      if (!known.has(id)) problems.push(`${name}: entry ${entry}: ${field}: ${id} is not among the open files`);
    }
  };
  const owners = (kind: 'pipes-data' | 'fifo-data') =>
    (folder.tryRead(kind) ?? []).map(({ message }) => message.pipe_id);
  check('pipes-data.img', 'pipe_id', owners('pipes-data'), pipes);
  check('fifo-data.img', 'pipe_id', owners('fifo-data'), fifos);
  const queued = (folder.tryRead('sk-queues') ?? []).map(({ message }) => message.id_for);
  const pending = files.flatMap(({ usk }) => usk?.pending_ext.flatMap(({ id }) => id ?? []) ?? []);
  check('sk-queues.img', 'id_for', queued, new Set([...sockets, ...pending]));
  return problems;
}

/** Terminals and memfds have an entry for what is behind the descriptor; epoll watches descriptors that are open. */
function findTargetProblems(folder: ImageFolder): string[] {
  const terminals = new Set((folder.tryRead('tty-info') ?? []).map(({ id }) => id));
  const memfds = new Set((folder.tryRead('memfd') ?? []).map(({ inode_id }) => inode_id));
  const problems: string[] = [];
  for (const { id, tty, memfd } of folder.openFiles.values()) {
    const at = `files.img: file ${id}`;
    if (tty !== undefined && !terminals.has(tty.tty_info_id)) {
      problems.push(`${at}: tty.tty_info_id: terminal ${tty.tty_info_id} is not in tty-info.img`);
    }
    if (memfd !== undefined && !memfds.has(memfd.inode_id)) {
      problems.push(`${at}: memfd.inode_id: ${memfd.inode_id} is not in memfd.img`);
    }
  }
  return problems;
}

/** The pages of shared memory are all there. */
function findSharedMemoryProblems(folder: ImageFolder): string[] {
  const hasParent = folder.files.openParent() !== undefined;
  return folder.images().flatMap(({ kind, id, name }) => {
    const pagemap = kind === 'pagemap-shmem' ? folder.tryRead(kind, Number(id)) : undefined;
    if (pagemap === undefined) return [];
    const pagesBytes = folder.files.fileSize('pages', pagemap.head.pages_id);
    return findPagemapProblems(name, pagemap, { pagesBytes, hasParent }).map(composeMessage);
  });
}

/** Filters are a chain, the last one first. */
function findSeccompProblems(folder: ImageFolder): string[] {
  const filters = folder.tryFirst('seccomp')?.seccomp_filters ?? [];
  const problems = filters.flatMap(({ prev }, index) =>
    prev !== undefined && prev >= index
      ? [`seccomp.img: entry 0: seccomp_filters[${index}].prev: ${prev} is not before it`]
      : [],
  );
  for (const { threads } of folder.tasks) {
    for (const { tid, core } of threads) {
      const filter = core?.thread_core?.seccomp_filter;
      if (filter !== undefined && filter >= filters.length) {
        problems.push(`core-${tid}.img: entry 0: thread_core.seccomp_filter: ${filter} is not in seccomp.img`);
      }
    }
  }
  return problems;
}
