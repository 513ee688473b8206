/**
 * Checks of a whole set of images before anything is restored: that what one image refers to is in another, and that
 * memory images make sense. Each image by itself has been checked when it was decoded. Finds all problems at once.
 */
import type { CriuErrorFields } from '../base/errors.ts';
import type { CoreEntry } from './gen/core.ts';
import { type FdinfoEntry, FdTypes, type FileEntry } from './gen/fdinfo.ts';
import type { FsEntry } from './gen/fs.ts';
import type { MmEntry } from './gen/mm.ts';
import type { SignalQueueEntry } from './gen/siginfo.ts';
import type { Pagemap } from './image-kinds.ts';
import { type OpenFiles, typeOf } from './open-files.ts';
import { findPagemapProblems, findVmaProblems } from './validate-memory.ts';
import { VMA_EXT_PLUGIN, VMA_FILE_PRIVATE, VMA_FILE_SHARED } from './vma-status.ts';

/** The only flag of a descriptor. */
const FD_CLOEXEC = 1;
/** Of a siginfo_t. */
const SIGINFO_BYTES = 128;

/** The images of one living task. */
export interface TaskImages {
  readonly pid: number;
  readonly mm: MmEntry;
  readonly pagemap: Pagemap;
  readonly fs: FsEntry;
  readonly ids: { readonly files_id: number };
  /** By number. */
  readonly fds: readonly FdinfoEntry[];
  /** The leader first. */
  readonly threads: readonly { readonly tid: number; readonly core: CoreEntry }[];
}

export interface ImageSet {
  /** Living tasks. */
  readonly tasks: readonly TaskImages[];
  readonly files: OpenFiles;
}

export interface ImageSetFacts {
  /** Whether the directory has a link to the images of the dump before. */
  readonly hasParent: boolean;
  /** Size of `pages-<pagesId>.img`; undefined when it is not there. */
  readonly pagesBytes: (pagesId: number) => number | undefined;
}

/** All problems of a set of images; empty when it can be restored as far as one can see from the images. */
export function findImageProblems(images: ImageSet, facts: ImageSetFacts): CriuErrorFields[] {
  const problems = findFileProblems(images.files);
  const tables = new Set<number>();
  for (const task of images.tasks) {
    problems.push(...findReferenceProblems(task, images.files), ...findMemoryProblems(task, facts));
    // Tasks that share a table share its image.
    if (!tables.has(task.ids.files_id)) problems.push(...findTableProblems(task, images.files));
    tables.add(task.ids.files_id);
  }
  problems.push(...findThreadProblems(images.tasks));
  return problems;
}

/** The field of file_entry that holds a file of this type. */
const FIELD_OF_TYPE: Readonly<Record<number, keyof FileEntry>> = {
  [FdTypes.REG]: 'reg',
  [FdTypes.PIPE]: 'pipe',
  [FdTypes.FIFO]: 'fifo',
  [FdTypes.INETSK]: 'isk',
  [FdTypes.UNIXSK]: 'usk',
  [FdTypes.EVENTFD]: 'efd',
  [FdTypes.EVENTPOLL]: 'epfd',
  [FdTypes.INOTIFY]: 'ify',
  [FdTypes.SIGNALFD]: 'sgfd',
  [FdTypes.PACKETSK]: 'psk',
  [FdTypes.TTY]: 'tty',
  [FdTypes.FANOTIFY]: 'ffy',
  [FdTypes.NETLINKSK]: 'nlsk',
  [FdTypes.NS]: 'nsf',
  [FdTypes.TUNF]: 'tunf',
  [FdTypes.EXT]: 'ext',
  [FdTypes.TIMERFD]: 'tfd',
  [FdTypes.MEMFD]: 'memfd',
  [FdTypes.BPFMAP]: 'bpf',
  [FdTypes.PIDFD]: 'pidfd',
  [FdTypes.IO_URING_EXT]: 'io_uring_ext',
};

/** Each entry of files.img must hold what its type says, and by the same id. */
function findFileProblems(files: OpenFiles): CriuErrorFields[] {
  const problems: CriuErrorFields[] = [];
  // Plain ones are what they say.
  for (const file of files.values()) {
    const problem = findContentProblem(file, files);
    if (problem !== undefined) problems.push({ object: `files.img: file ${file.id}`, action: problem });
  }
  return problems;
}

function findContentProblem(file: FileEntry, files: OpenFiles): string | undefined {
  const field = FIELD_OF_TYPE[file.type];
  if (field === undefined) return `the type ${typeText(file.type)} is not one of a file`;
  const content = file[field];
  if (typeof content !== 'object') return `it is of type ${typeText(file.type)}, but the field ${field} is missing`;
  if (content.id !== file.id) return `${field}.id is ${content.id}`;
  if (file.fifo === undefined) return undefined;
  // The name of a FIFO is an entry of its own.
  const nameId = file.fifo.regf_id;
  if (nameId === undefined) return 'the field fifo.regf_id is missing';
  if (files.get(nameId)?.reg !== undefined) return undefined;
  return `its name is said to be file ${nameId}, which is not a regular file in files.img`;
}

/** What the kernel's limit of descriptors may be set to (fs/file.c, sysctl_nr_open_max). */
const FD_NUMBERS = 0x7fff_ffc0;

/** The descriptors of a table refer to files of the same type, and none comes twice. */
function findTableProblems({ fds, ids }: TaskImages, files: OpenFiles): CriuErrorFields[] {
  const problems: CriuErrorFields[] = [];
  const report = (fd: number, action: string) =>
    problems.push({ object: `fdinfo-${ids.files_id}.img: fd ${fd}`, action });
  let before = -1;
  for (const { fd, id, type, flags } of fds) {
    if (fd >= FD_NUMBERS) report(fd, 'no descriptor has such a number');
    if ((flags & ~FD_CLOEXEC) !== 0) report(fd, `it has unknown flags (0x${flags.toString(16)})`);
    const there = typeOf(files, id);
    // They ascend.
    if (fd === before) report(fd, 'it is in the table twice');
    before = fd;
    if (there === undefined) report(fd, missingFile(id));
    else if (there !== type) report(fd, `its type is ${typeText(type)}, but file ${id} is ${typeText(there)}`);
  }
  return problems;
}

/** Executable, mapped files, working and root directory must be in files.img, and something that has a path. */
function findReferenceProblems({ pid, mm, fs }: TaskImages, files: OpenFiles): CriuErrorFields[] {
  const problems: CriuErrorFields[] = [];
  const check = (object: string, id: number, mayBeMemfd: boolean) => {
    const file = files.get(id);
    if (file === undefined) problems.push({ object, action: missingFile(id) });
    else if (file.reg === undefined && !(mayBeMemfd && file.memfd !== undefined)) {
      problems.push({ object, action: `it refers to file ${id}, which is of type ${typeText(file.type)}` });
    }
  };
  check(`mm-${pid}.img: exe_file_id`, mm.exe_file_id, true);
  check(`fs-${pid}.img: cwd_id`, fs.cwd_id, false);
  check(`fs-${pid}.img: root_id`, fs.root_id, false);
  if ((fs.umask ?? 0) > 0o777) problems.push({ object: `fs-${pid}.img: umask`, action: `${fs.umask} is not a mask` });
  for (const { start, shmid, status } of mm.vmas) {
    const isFile = (status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED)) !== 0 && (status & VMA_EXT_PLUGIN) === 0;
    if (isFile) check(`mm-${pid}.img: the mapping at ${BigInt(start).toString(16)}`, shmid, true);
  }
  return problems;
}

function findMemoryProblems({ pid, mm, pagemap }: TaskImages, facts: ImageSetFacts): CriuErrorFields[] {
  const pagesBytes = facts.pagesBytes(pagemap.head.pages_id);
  return [
    ...findVmaProblems(`mm-${pid}.img`, mm.vmas),
    ...findPagemapProblems(`pagemap-${pid}.img`, pagemap, { pagesBytes, hasParent: facts.hasParent, vmas: mm.vmas }),
  ];
}

/** Thread ids are unique in the whole tree; leaders have the state of the task, every thread its own. */
function findThreadProblems(tasks: readonly TaskImages[]): CriuErrorFields[] {
  const problems: CriuErrorFields[] = [];
  const seen = new Set<number>();
  for (const task of tasks) {
    for (const [index, { tid, core }] of task.threads.entries()) {
      const object = `core-${tid}.img`;
      if (seen.has(tid)) problems.push({ object: 'pstree.img', action: `the thread ${tid} is in the tree twice` });
      seen.add(tid);
      if (index === 0 && core.tc === undefined) problems.push({ object, action: 'the field tc is missing' });
      if (core.thread_core === undefined) problems.push({ object, action: 'the field thread_core is missing' });
      problems.push(
        ...findSignalProblems(object, 'tc.signals_s', core.tc?.signals_s),
        ...findSignalProblems(object, 'thread_core.signals_p', core.thread_core?.signals_p),
      );
    }
  }
  return problems;
}

const NO_PROBLEMS: readonly CriuErrorFields[] = [];

function findSignalProblems(file: string, field: string, queue: SignalQueueEntry | undefined) {
  if (queue === undefined || queue.signals.length === 0) return NO_PROBLEMS;
  const wrong = queue.signals.find(({ siginfo }) => siginfo.length !== SIGINFO_BYTES);
  if (wrong === undefined) return NO_PROBLEMS;
  const object = `${file}: ${field}`;
  return [{ object, action: `a siginfo has ${wrong.siginfo.length} bytes instead of ${SIGINFO_BYTES}` }];
}

function missingFile(id: number): string {
  return `it refers to file ${id}, which is not in files.img`;
}

function typeText(type: number): string {
  return Object.entries(FdTypes).find(([, value]) => value === type)?.[0] ?? String(type);
}
