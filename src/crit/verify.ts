/**
 * `crit verify DIR`: whether a folder of images is whole and consistent, as far as one can see without restoring it. Every
 * image is decoded strictly, then what one image says about another is followed.
 */
import { composeMessage } from '../base/errors.ts';
import { BASE_FOLDER, PARENT_LINK } from '../image/image-kinds.ts';
import type { TaskImages } from '../image/validate.ts';
import { findImageProblems } from '../image/validate.ts';
import { type ImageFiles, ImageFolder, type TaskSet } from './image-folder.ts';
import { findParentProblems } from './verify-parents.ts';
import { findReferenceProblems } from './verify-references.ts';

export interface Verdict {
  readonly images: number;
  readonly tasks: number;
  /** One line each; empty when all is well. */
  readonly problems: readonly string[];
  /** What is worth knowing but no problem. */
  readonly notes: readonly string[];
}

export function verify(files: ImageFiles): Verdict {
  const folder = new ImageFolder(files);
  const images = folder.readAll();
  const tasks = folder.tasks;
  const problems = [
    ...findMissing(folder),
    ...findTreeProblems(tasks),
    ...findReferenceProblems(folder),
    ...findSetProblems(folder),
    ...findParentProblems(folder),
  ];
  return {
    images,
    tasks: tasks.length,
    problems: [...new Set([...folder.problems, ...problems])],
    notes: notesOf(folder),
  };
}

/** Images without which there is nothing to restore. */
function findMissing(folder: ImageFolder): string[] {
  const problems: string[] = [];
  const isThere = new Set(folder.files.names());
  const need = (name: string, why: string): void => {
    if (!isThere.has(name)) problems.push(`${name}: there is no such image: ${why}`);
  };
  need('inventory.img', 'the dump did not finish, or this is no folder of images');
  need('pstree.img', 'the process tree is not known');
  const hasEmptyImages = folder.tryFirst('inventory')?.has_empty_images_ext === true;
  for (const { entry, core, isDead, threads, ids } of folder.tasks) {
    const whose = `the state of task ${entry.pid} is not known`;
    for (const { tid } of isDead ? [{ tid: entry.pid }] : threads) need(`core-${tid}.img`, whose);
    // Without a core it is not known whether the task was alive and has more images.
    if (isDead || core === undefined) continue;
    for (const kind of ['mm', 'fs', 'pagemap']) need(`${kind}-${entry.pid}.img`, whose);
    if (folder.tryFirst('core', entry.pid)?.ids === undefined) need(`ids-${entry.pid}.img`, whose);
    if (hasEmptyImages && ids !== undefined) need(`fdinfo-${ids.files_id}.img`, 'the open files are not known');
  }
  return problems;
}

/** One root, every parent there, nobody twice, no circles. */
function findTreeProblems(tasks: readonly TaskSet[]): string[] {
  const problems: string[] = [];
  const parents = new Map(tasks.map(({ entry }) => [entry.pid, entry.ppid]));
  if (parents.size < tasks.length) problems.push('pstree.img: a pid is in the tree twice');
  const roots = tasks.filter(({ entry }) => entry.ppid === 0);
  if (tasks.length > 0 && roots.length !== 1)
    problems.push(`pstree.img: there are ${roots.length} root tasks instead of one`);
  for (const { entry } of tasks) {
    if (entry.ppid !== 0 && !parents.has(entry.ppid)) {
      problems.push(`pstree.img: task ${entry.ppid}, the parent of ${entry.pid}, is not in the tree`);
    }
    const seen = new Set<number>();
    for (let pid: number | undefined = entry.pid; pid !== undefined && pid !== 0; pid = parents.get(pid)) {
      if (seen.has(pid)) {
        problems.push(`pstree.img: task ${entry.pid} is its own ancestor`);
        break;
      }
      seen.add(pid);
    }
  }
  return problems;
}

/** The checks that a restore makes. */
function findSetProblems(folder: ImageFolder): string[] {
  const tasks = folder.tasks.flatMap((task) => wholeTask(task) ?? []);
  const facts = {
    hasParent: folder.files.openParent() !== undefined,
    pagesBytes: (id: number) => folder.files.fileSize('pages', id),
  };
  return findImageProblems({ tasks, files: folder.openFiles }, facts).map(composeMessage);
}

/** A task of which everything is there. */
function wholeTask({ entry, isDead, mm, pagemap, fs, ids, fds, threads }: TaskSet): TaskImages | undefined {
  if (isDead || mm === undefined || pagemap === undefined || fs === undefined || ids === undefined) return undefined;
  const known = threads.flatMap(({ tid, core }) => (core === undefined ? [] : [{ tid, core }]));
  return { pid: entry.pid, mm, pagemap, fs, ids, fds, threads: known };
}

const OTHERS_SHOWN = 6;
const FOLDERS = ['.', '..', PARENT_LINK, BASE_FOLDER];

function notesOf(folder: ImageFolder): string[] {
  const names = folder.files.names().filter((name) => !FOLDERS.includes(name));
  const images = new Set(folder.images().map(({ name }) => name));
  const others = names.filter((name) => !images.has(name) && !/\.(log|out|pid)$/.test(name));
  if (others.length === 0) return [];
  const left = others.length - OTHERS_SHOWN;
  const shown = others.sort().slice(0, OTHERS_SHOWN).join(', ');
  return [`not images: ${shown}${left > 0 ? ` and ${left} more` : ''}`];
}
