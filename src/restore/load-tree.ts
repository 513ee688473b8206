/** Reads the images of a tree and puts them together by task. Nothing is touched but the image folder. */
import { CriuError, type CriuErrorFields, CriuErrors } from '../base/errors.ts';
import { expectMany } from '../base/hot-code.ts';
import type { AlikeImages } from '../image/alike-images.ts';
import type { CoreEntry } from '../image/gen/core.ts';
import type { FdinfoEntry } from '../image/gen/fdinfo.ts';
import type { PstreeEntry } from '../image/gen/pstree.ts';
import type { ImageDir } from '../image/image-dir.ts';
import { IMAGES_V1, IMAGES_V1_1, imageFileName } from '../image/image-kinds.ts';
import { completeLeaderCore, completeMm, completeThreadCore, isOldTask, withOldSeccomp } from '../image/old-images.ts';
import { readOpenFiles } from '../image/open-files.ts';
import { RepeatedImages } from '../image/repeated-images.ts';
import { TASK_DEAD, TASK_ZOMBIE } from '../image/task-state.ts';
import { PagesIndex } from '../resources/mm/pages-image.ts';
import { isPlain } from '../resources/mm/plain-vma.ts';
import { readAhead } from '../resources/read-ahead.ts';
import type { RestoreMember, RestoreTask, RestoreTree, RestoreZombie } from './restore-tree.ts';
import { abiOfTask, checkKinds } from './task-abi.ts';

/** Loads the tree. Throws CriuError naming the image, the entry and the field that is wrong. */
export function loadTree(images: ImageDir): RestoreTree {
  const inventory = images.readOne('inventory');
  if (inventory.img_version !== IMAGES_V1 && inventory.img_version !== IMAGES_V1_1) {
    throw new CriuError({
      object: images.imagePath('inventory'),
      action: `cannot restore images of version ${inventory.img_version}`,
      why: `this criu knows versions ${IMAGES_V1} and ${IMAGES_V1_1}`,
    });
  }
  const files = readOpenFiles(images);
  const tables = new Map<number, readonly FdinfoEntry[]>();
  // CRIU does not write that.
  const isOurs = inventory.has_empty_images_ext === true;
  const readTable = (filesId: number) => readFdinfo(images, filesId, isOurs, tables);
  const pages = new PagesIndex(images);
  const entries = inTreeOrder(images.read('pstree'));
  const cores = readTaskImages(images, entries);
  const repeated = new RepeatedImages(images);
  const members = entries.map((entry) => loadMember(images, entry, readTable, pages, cores, repeated));
  if (!isOurs) correctPersonalities(members);
  checkKinds(members);
  const [root] = members;
  if (root === undefined || root.kind !== 'task') {
    throw new CriuError({ object: images.imagePath('pstree'), action: 'has no living root task' });
  }
  return { inventory, root, members, tasks: members.filter((member) => member.kind === 'task'), files };
}

/** CRIU reads the hexadecimal text of /proc/PID/personality as if it were decimal (criu/cr-dump.c). It never uses it. */
function correctPersonalities(members: readonly RestoreMember[]): void {
  // Tasks that are alike may have the same object.
  for (const tc of new Set(members.map(({ core }) => core.tc))) {
    if (tc !== undefined) tc.personality = Number.parseInt(String(tc.personality), 16);
  }
}

/** Parents before children. Throws CriuErrors when the entries are not one tree. */
function inTreeOrder(entries: readonly PstreeEntry[]): PstreeEntry[] {
  const children = new Map<number, PstreeEntry[]>();
  const pids = new Set(entries.map(({ pid }) => pid));
  const problems: CriuErrorFields[] = [];
  const roots: PstreeEntry[] = [];
  const seen = new Set<number>();
  for (const entry of entries) {
    if (seen.has(entry.pid)) problems.push({ object: 'pstree.img', action: `has two tasks with pid ${entry.pid}` });
    seen.add(entry.pid);
    if (entry.ppid === 0) roots.push(entry);
    else if (!pids.has(entry.ppid)) {
      problems.push({ object: 'pstree.img', action: `has no task ${entry.ppid}, the parent of ${entry.pid}` });
    } else children.set(entry.ppid, [...(children.get(entry.ppid) ?? []), entry]);
  }
  if (roots.length !== 1)
    problems.push({ object: 'pstree.img', action: `has ${roots.length} root tasks instead of one` });
  const broken = 'the process tree in the images is broken';
  // Two tasks with one pid could be each other's children, and the walk would not end.
  if (problems.length > 0) throw new CriuErrors(broken, problems);
  const ordered: PstreeEntry[] = [];
  const queue = [...roots];
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    ordered.push(next);
    queue.push(...(children.get(next.pid) ?? []));
  }
  if (ordered.length === entries.length) return ordered;
  throw new CriuErrors(broken, [{ object: 'pstree.img', action: 'has tasks that are their own ancestors' }]);
}

/** Longer images are read one by one. */
const SMALL_BYTES = 4096;

/** Reads the images of all tasks and threads at once, as far as they are small and sound. Returns the cores. */
function readTaskImages(images: ImageDir, entries: readonly PstreeEntry[]): AlikeImages {
  const names: string[] = [];
  for (const { pid, threads } of entries) {
    for (const tid of new Set([pid, ...threads])) names.push(imageFileName('core', tid));
  }
  const coreCount = names.length;
  expectMany(coreCount);
  for (const { pid } of entries) {
    for (const kind of ['ids', 'mm', 'fs', 'pagemap'] as const) names.push(imageFileName(kind, pid));
  }
  return readAhead(images, names, SMALL_BYTES, coreCount);
}

function loadMember(
  images: ImageDir,
  entry: PstreeEntry,
  readTable: ReadTable,
  pages: PagesIndex,
  cores: AlikeImages,
  repeated: RepeatedImages,
): RestoreMember {
  const { pid, ppid, pgid, sid } = entry;
  const readCore = images.readOne('core', pid, cores);
  const isOld = isOldTask(readCore);
  const core = withOldSeccomp(isOld ? completeLeaderCore(images, pid, readCore) : readCore, readCore);
  const label = `task ${pid} '${core.tc?.comm ?? ''}'`;
  checkCore(core, label);
  const state = core.tc?.task_state;
  if (state === TASK_DEAD || state === TASK_ZOMBIE) {
    return { kind: 'zombie', pid, ppid, pgid, sid, core, label } satisfies RestoreZombie;
  }
  const ids = core.ids ?? images.readOne('ids', pid);
  const threads = [...new Set([pid, ...entry.threads])].map((tid) => {
    const threadCore = tid === pid ? core : withOldSeccomp(readThreadCore(images, pid, tid, isOld, cores), core);
    checkCore(threadCore, `thread ${tid} of ${label}`);
    return { tid, core: threadCore };
  });
  const pagemap = repeated.read('pagemap', pid);
  const mm = completeMm(images, pid, repeated.readOne('mm', pid));
  return {
    kind: 'task',
    pid,
    ppid,
    pgid,
    sid,
    core,
    abi: abiOfTask(threads, mm, label),
    ids,
    mm,
    special: mm.vmas.filter((vma) => !isPlain(vma)),
    pagemap,
    runs: pages.runs('pagemap', pid, pagemap),
    fs: repeated.readOne('fs', pid),
    fds: readTable(ids.files_id),
    threads,
    label,
  } satisfies RestoreTask;
}

function readThreadCore(images: ImageDir, pid: number, tid: number, isOld: boolean, cores: AlikeImages): CoreEntry {
  const core = images.readOne('core', tid, cores);
  return isOld ? completeThreadCore(images, pid, tid, core) : core;
}

type ReadTable = (filesId: number) => readonly FdinfoEntry[];

/** A descriptor table, read once. CRIU writes no image for an empty one. */
function readFdinfo(
  images: ImageDir,
  filesId: number,
  hasEmptyImages: boolean,
  tables: Map<number, readonly FdinfoEntry[]>,
): readonly FdinfoEntry[] {
  let table = tables.get(filesId);
  if (table === undefined) {
    const entries = hasEmptyImages ? images.read('fdinfo', filesId) : (images.tryRead('fdinfo', filesId) ?? []);
    table = byNumber(entries);
    tables.set(filesId, table);
  }
  return table;
}

/** Tables are dumped in ascending order, but nobody promised it. */
function byNumber(entries: readonly FdinfoEntry[]): readonly FdinfoEntry[] {
  let before = -1;
  for (const { fd } of entries) {
    if (fd < before) return [...entries].sort((a, b) => a.fd - b.fd);
    before = fd;
  }
  return entries;
}

const MARCH_X86_64 = 1;

function checkCore(core: CoreEntry, object: string): void {
  if (core.mtype !== MARCH_X86_64) {
    throw new CriuError({ object, action: 'was dumped on another kind of CPU', why: 'these images are not of x86-64' });
  }
}
