/**
 * What a folder of images shows to people: tasks with their memory and files, put together from many images. `tree` and
 * `report` draw it. Nothing here fails when something is missing. All texts are byte strings and untrusted.
 */
import type { CredsEntry } from '../image/gen/creds.ts';
import type { StatsEntry } from '../image/gen/stats.ts';
import type { VmaEntry } from '../image/gen/vma.ts';
import { BASE_FOLDER, PARENT_LINK } from '../image/image-kinds.ts';
import { PAGE_BYTES, PE_PARENT, PE_PRESENT, pagemapEntryFlags, pagemapEntryPages } from '../image/pagemap.ts';
import { TASK_DEAD, TASK_STOPPED, TASK_ZOMBIE } from '../image/task-state.ts';
import {
  VMA_ANON_SHARED,
  VMA_AREA_AIORING,
  VMA_AREA_GUARD,
  VMA_AREA_HEAP,
  VMA_AREA_SOCKET,
  VMA_AREA_STACK,
  VMA_AREA_SYSVIPC,
  VMA_AREA_VDSO,
  VMA_AREA_VSYSCALL,
  VMA_AREA_VVAR,
  VMA_FILE_PRIVATE,
  VMA_FILE_SHARED,
} from '../image/vma-status.ts';
import { describeFile, type FileText, typeName } from './describe-file.ts';
import type { ImageFolder, TaskSet } from './image-folder.ts';

const MAP_GROWSDOWN = 0x100;

export type MappingGroup = 'code' | 'file' | 'heap' | 'stack' | 'private' | 'shared' | 'special';

export interface MappingPicture {
  readonly start: number;
  readonly end: number;
  /** "rwx", with "-" for what is not allowed. */
  readonly prot: string;
  readonly group: MappingGroup;
  /** A path, or "[heap]"; empty for memory that has no name. */
  readonly name: string;
  /** How much of it is in the images, those of earlier dumps included. */
  readonly savedBytes: number;
}

export interface DescriptorPicture {
  readonly fd: number;
  readonly fileId: number;
  readonly closesOnExec: boolean;
  readonly file: FileText;
}

export interface TaskPicture {
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  readonly name: string;
  readonly state: 'running' | 'stopped' | 'dead' | 'unknown';
  readonly threads: readonly { readonly tid: number; readonly name: string }[];
  /** "root", "1000:1000"; empty when it is not known. */
  readonly user: string;
  readonly executable: string;
  /** With which arguments it was started, as it has them in memory; empty when that is not in the images. */
  readonly command: readonly string[];
  readonly folder: string;
  readonly root: string;
  readonly mappings: readonly MappingPicture[];
  readonly descriptors: readonly DescriptorPicture[];
  /** Another task whose table of files this one shares. */
  readonly sharesFilesWith: number | undefined;
  readonly children: readonly TaskPicture[];
}

export interface OpenFilePicture {
  readonly id: number;
  readonly file: FileText;
  readonly users: readonly { readonly pid: number; readonly fd: number }[];
}

export interface Picture {
  readonly roots: readonly TaskPicture[];
  /** All tasks, parents before children. */
  readonly tasks: readonly TaskPicture[];
  readonly openFiles: readonly OpenFilePicture[];
  readonly hostName: string | undefined;
  readonly dumpStats: StatsEntry['dump'];
  readonly restoreStats: StatsEntry['restore'];
  /** Some of the memory is in the images of an earlier dump. */
  readonly hasEarlier: boolean;
}

export function drawPicture(folder: ImageFolder): Picture {
  const tables = new Map<number, number>();
  const bare = folder.tasks.map((task) => drawTask(task, folder, tables));
  const children = Map.groupBy(bare, ({ ppid }) => ppid);
  const pids = new Set(bare.map(({ pid }) => pid));
  const tasks: TaskPicture[] = [];
  const grow = (task: TaskPicture, above: ReadonlySet<number>): TaskPicture => {
    const path = new Set([...above, task.pid]);
    const grown: TaskPicture[] = [];
    const whole = { ...task, children: grown };
    tasks.push(whole);
    for (const child of children.get(task.pid) ?? []) if (!path.has(child.pid)) grown.push(grow(child, path));
    return whole;
  };
  const roots = bare.filter(({ ppid }) => !pids.has(ppid)).map((root) => grow(root, new Set()));
  const names = folder.files.names();
  return {
    roots,
    tasks,
    openFiles: drawOpenFiles(folder, tasks),
    hostName: hostName(folder),
    dumpStats: folder.tryFirst('stats', 'dump')?.dump,
    restoreStats: folder.tryFirst('stats', 'restore')?.restore,
    hasEarlier: names.includes(PARENT_LINK) && !names.includes(BASE_FOLDER),
  };
}

function hostName(folder: ImageFolder): string | undefined {
  const image = folder.images().find(({ kind }) => kind === 'utsns');
  return image === undefined ? undefined : folder.tryFirst('utsns', image.id)?.nodename;
}

function drawTask(task: TaskSet, folder: ImageFolder, tables: Map<number, number>): TaskPicture {
  const { entry, core, fs, mm, ids } = task;
  const path = (id: number | undefined): string =>
    id === undefined ? '' : (folder.openFiles.get(id)?.reg?.name ?? '');
  const sharesFilesWith = ids === undefined ? undefined : tables.get(ids.files_id);
  if (ids !== undefined && sharesFilesWith === undefined) tables.set(ids.files_id, entry.pid);
  return {
    pid: entry.pid,
    ppid: entry.ppid,
    pgid: entry.pgid,
    sid: entry.sid,
    name: core?.tc?.comm ?? '',
    state: stateName(core?.tc?.task_state),
    threads: task.threads.map(({ tid, core: own }) => ({ tid, name: own?.thread_core?.comm ?? own?.tc?.comm ?? '' })),
    user: userName(core?.thread_core?.creds),
    executable: path(mm?.exe_file_id),
    command: readCommand(task, folder),
    folder: path(fs?.cwd_id),
    root: path(fs?.root_id),
    mappings: drawMappings(task, folder),
    descriptors: task.fds
      .toSorted((a, b) => a.fd - b.fd)
      .map(({ fd, id, flags, type }) => {
        const file = folder.openFiles.get(id);
        const unknown: FileText = {
          group: 'other',
          kind: typeName(type),
          name: 'not among the open files',
          detail: '',
        };
        return {
          fd,
          fileId: id,
          closesOnExec: (flags & 1) !== 0,
          file: file === undefined ? unknown : describeFile(file, folder),
        };
      }),
    sharesFilesWith,
    children: [],
  };
}

/** Longer command lines are cut. */
const COMMAND_BYTES_MAX = 4096;

function readCommand({ mm, pagemap }: TaskSet, folder: ImageFolder): string[] {
  if (mm === undefined || pagemap === undefined) return [];
  const { mm_arg_start: start, mm_arg_end: end } = mm;
  let offset = 0;
  for (const entry of pagemap.entries) {
    if ((pagemapEntryFlags(entry) & PE_PRESENT) === 0) continue;
    const bytes = pagemapEntryPages(entry) * PAGE_BYTES;
    if (start >= entry.vaddr && start < entry.vaddr + bytes) {
      const length = Math.min(end, entry.vaddr + bytes, start + COMMAND_BYTES_MAX) - start;
      if (length <= 0) return [];
      const text = folder.files.tryReadPages(pagemap.head.pages_id, offset + start - entry.vaddr, length);
      return text === undefined ? [] : Buffer.from(text).toString('latin1').replace(/\0+$/, '').split('\0');
    }
    offset += bytes;
  }
  return [];
}

function stateName(state: number | undefined): TaskPicture['state'] {
  if (state === undefined) return 'unknown';
  if (state === TASK_DEAD || state === TASK_ZOMBIE) return 'dead';
  return state === TASK_STOPPED ? 'stopped' : 'running';
}

function userName(creds: CredsEntry | undefined): string {
  if (creds === undefined) return '';
  return creds.euid === 0 ? 'root' : `user ${creds.euid}, group ${creds.egid}`;
}

function drawMappings({ mm, pagemap }: TaskSet, folder: ImageFolder): MappingPicture[] {
  const vmas = (mm?.vmas ?? []).filter(({ status }) => (status & VMA_AREA_GUARD) === 0);
  const saved = vmas.map(() => 0);
  let first = 0;
  for (const entry of pagemap?.entries ?? []) {
    const flags = pagemapEntryFlags(entry);
    const end = entry.vaddr + pagemapEntryPages(entry) * PAGE_BYTES;
    while (first < vmas.length && (vmas[first]?.end ?? 0) <= entry.vaddr) first++;
    for (let index = first; index < vmas.length && (vmas[index]?.start ?? 0) < end; index++) {
      const vma = vmas[index];
      if (vma === undefined || (flags & (PE_PRESENT | PE_PARENT)) === 0) continue;
      const bytes = Math.min(end, vma.end) - Math.max(entry.vaddr, vma.start);
      saved[index] = (saved[index] ?? 0) + bytes;
    }
  }
  return vmas.map((vma, index) => ({
    start: vma.start,
    end: vma.end,
    prot: ['r', 'w', 'x'].map((letter, bit) => ((vma.prot & (1 << bit)) === 0 ? '-' : letter)).join(''),
    ...nameMapping(vma, folder),
    savedBytes: saved[index] ?? 0,
  }));
}

function nameMapping(vma: VmaEntry, folder: ImageFolder): { group: MappingGroup; name: string } {
  const has = (bits: number) => (vma.status & bits) !== 0;
  if (has(VMA_AREA_SYSVIPC)) return { group: 'shared', name: `[System V segment ${vma.shmid}]` };
  if (has(VMA_AREA_AIORING)) return { group: 'special', name: '[aio]' };
  if (has(VMA_AREA_SOCKET)) return { group: 'special', name: '[ring]' };
  if (has(VMA_ANON_SHARED)) return { group: 'shared', name: `[shared memory ${vma.shmid}]` };
  if (has(VMA_FILE_PRIVATE | VMA_FILE_SHARED)) {
    const file = folder.openFiles.get(vma.shmid);
    const name = file === undefined ? `[file ${vma.shmid}]` : (file.reg?.name ?? describeFile(file, folder).name);
    if (has(VMA_FILE_SHARED)) return { group: 'shared', name };
    return { group: (vma.prot & 4) === 0 ? 'file' : 'code', name };
  }
  if (has(VMA_AREA_VDSO)) return { group: 'special', name: '[vdso]' };
  if (has(VMA_AREA_VVAR)) return { group: 'special', name: '[vvar]' };
  if (has(VMA_AREA_VSYSCALL)) return { group: 'special', name: '[vsyscall]' };
  if (has(VMA_AREA_HEAP)) return { group: 'heap', name: '[heap]' };
  if (has(VMA_AREA_STACK)) return { group: 'stack', name: '[stack]' };
  if ((vma.flags & MAP_GROWSDOWN) !== 0) return { group: 'stack', name: '[grows down]' };
  return { group: 'private', name: vma.name_ext === undefined ? '' : `[${vma.name_ext}]` };
}

function drawOpenFiles(folder: ImageFolder, tasks: readonly TaskPicture[]): OpenFilePicture[] {
  const users = new Map<number, { pid: number; fd: number }[]>();
  for (const { pid, descriptors } of tasks) {
    for (const { fd, fileId } of descriptors) users.set(fileId, [...(users.get(fileId) ?? []), { pid, fd }]);
  }
  return [...folder.openFiles.values()]
    .toSorted((a, b) => a.id - b.id)
    .map((file) => ({ id: file.id, file: describeFile(file, folder), users: users.get(file.id) ?? [] }));
}

/** Bytes of all mappings, and of those in the images. */
export function memorySum(mappings: readonly MappingPicture[]): { all: number; saved: number } {
  let all = 0;
  let saved = 0;
  for (const { start, end, savedBytes } of mappings) {
    all += end - start;
    saved += savedBytes;
  }
  return { all, saved };
}
