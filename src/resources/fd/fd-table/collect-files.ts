/**
 * Collects everything that is open in a frozen tree: descriptors of all tasks, and on demand what is behind exe, cwd,
 * root and file mappings. What cannot be dumped is collected too, so that the user learns all of it at once.
 */
import type { Program } from '../../../agent/program.ts';
import { type CriuErrorFields, SyscallError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { FrozenTask, FrozenTree } from '../../../dump/frozen-tree.ts';
import type { FdinfoEntry, FileEntry } from '../../../image/gen/fdinfo.ts';
import type { RemapFilePathEntry } from '../../../image/gen/remap-file-path.ts';
import type { ImageDir } from '../../../image/image-dir.ts';
import type { ElementOf } from '../../../image/image-kinds.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { FD_CLOEXEC, O_PATH, O_RDONLY, O_RDWR, O_WRONLY, S_IFBLK, S_IFCHR, S_IFMT } from '../../../linux/abi/fcntl.ts';
import { close, tryLstat, tryOpen } from '../../../linux/syscalls/fs.ts';
import { getpid } from '../../../linux/syscalls/process.ts';
import type { MapsEntry } from '../../../proc/maps.ts';
import type { VisitResult } from '../../../tracee/guest.ts';
import type { DataImage, DescriptorOf, DumpFilesOptions, FileKind, KindDump, OpenFile } from '../file-kind.ts';
import { LockCollector } from '../file-lock/file-lock.ts';
import { dumpMemfd } from '../memfd/memfd.ts';
import { FILE_KINDS, findKind } from '../registry.ts';
import { dumpRegularFile, regularFile } from '../regular-file/regular-file.ts';
import { blocker } from './blocker.ts';
import { CloexecQuestions } from './cloexec.ts';
import { type DescriptorTable, DescriptorTables } from './descriptor-tables.ts';
import { FileIds } from './file-ids.ts';
import { FoundDescriptors } from './found-descriptors.ts';
import { PathMap } from './inode-map.ts';
import { type DescriptorFile, InspectedFile } from './open-file.ts';
import { refuseUnknown } from './unknown-kind.ts';

/** A file behind a mapping: its entry in files.img, and the O_* it was opened with, for VmaEntry. */
export interface MappedFile {
  /** It is a memfd or shared anonymous memory. */
  readonly isMemory: boolean;
  readonly fileId: number;
  readonly fdflags: number;
}

export class FilesDump implements KindDump {
  readonly options: DumpFilesOptions;
  /** What cannot be dumped, and why; everything else here is complete only when this is empty. */
  readonly problems: CriuErrorFields[] = [];
  /** Descriptors by files_id. */
  readonly fdinfo = new Map<number, FdinfoEntry[]>();
  /** Entries of files.img. */
  readonly files: FileEntry[] = [];
  tasks: readonly FrozenTask[] = [];
  #pids: ReadonlySet<number> = new Set();
  readonly #log: Logger;
  readonly #ids = new FileIds();
  #kind: FileKind | undefined = undefined;
  readonly #tables = new DescriptorTables();
  readonly #remaps: RemapFilePathEntry[] = [];
  readonly #data = new Map<DataImage, unknown[]>();
  readonly #images: ((images: ImageDir) => void)[] = [];
  readonly #lateImages: ((images: ImageDir) => void)[] = [];
  readonly #seen = new Set<string>();
  readonly #states = new Map<string, unknown>();
  /** Descriptors of ours for files in flight, with their ids. */
  readonly #inFlight: { readonly fd: number; id: number | undefined }[] = [];
  /** Other descriptors of ours, to be closed in the end. */
  readonly #others: number[] = [];
  /** Ids of files by what they are, for exe, cwd, root and mappings. */
  readonly #byPath = new PathMap<number>();
  readonly #byMapping = new Map<string, number>();
  /** Of the task that was looked at last. */
  readonly #links = new Map<string, number | undefined>();
  /** Ids of what is mapped and no file: memfds and the like. */
  readonly #memory = new Set<number>();
  readonly #found = new FoundDescriptors();
  readonly #locks: LockCollector;
  readonly #completions: (() => void)[] = [];
  readonly #cloexec = new CloexecQuestions();

  constructor(options: DumpFilesOptions, log: Logger) {
    this.options = options;
    this.#log = log;
    this.#locks = new LockCollector(options.fileLocks);
  }

  /** Reads all descriptors; each table once. */
  collect(tree: FrozenTree, filesIds: ReadonlyMap<number, number>): void {
    this.tasks = tree.tasks;
    this.#pids = new Set(tree.members.map(({ pid }) => pid));
    for (const task of tree.tasks) {
      const filesId = filesIds.get(task.pid) ?? 0;
      let entries = this.fdinfo.get(filesId);
      if (entries === undefined) {
        entries = this.#collectTable(task, filesId);
        this.fdinfo.set(filesId, entries);
      }
      this.#found.add(task.pid, entries);
    }
    this.#tables[Symbol.dispose]();
    for (const complete of this.#completions) complete();
    for (const kind of FILE_KINDS) kind.afterAll?.(this);
    for (const { fd } of this.#inFlight.splice(0)) close(fd);
    for (const fd of this.#others.splice(0)) close(fd);
  }

  /** The file behind /proc/PID/exe, cwd or root, maybe that of the task before: its id, or undefined for a problem. */
  registerLink(task: FrozenTask, name: 'exe' | 'cwd' | 'root', isLikeBefore = false): number | undefined {
    const id = (isLikeBefore ? this.#links.get(name) : undefined) ?? this.#registerLink(task, name);
    this.#links.set(name, id);
    return id;
  }

  #registerLink(task: FrozenTask, name: string): number | undefined {
    const path = `/proc/${task.pid}/${name}`;
    const localFd = tryOpen(path, O_PATH);
    if (localFd < 0) {
      const action = `cannot be dumped: ${path} cannot be opened (${errnoName(-localFd)})`;
      return this.#fail({ object: `${name} of ${task.label}`, action });
    }
    return this.#registerPath(task, localFd, name);
  }

  /** The file behind a mapping (not System V shared memory). Undefined when there is a problem with it. */
  registerMapping(task: FrozenTask, vma: MapsEntry): MappedFile | undefined {
    const range = `${vma.start.toString(16)}-${vma.end.toString(16)}`;
    const path = `/proc/${task.pid}/map_files/${range}`;
    const fdflags = this.#mappingFlags(path);
    const key = `${vma.device.major}:${vma.device.minor} ${vma.inode} ${vma.rawPath}`;
    let fileId = this.#byMapping.get(key);
    if (fileId === undefined) {
      const localFd = tryOpen(path, O_PATH);
      if (localFd < 0) {
        const action = `cannot be dumped: ${path} cannot be opened (${errnoName(-localFd)})`;
        const remedy = 'run criu with CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN';
        return this.#fail({ object: `mapping ${range} of ${task.label} (${vma.rawPath})`, action, remedy });
      }
      fileId = this.#registerPath(task, localFd, `mapping ${range}`);
      if (fileId === undefined) return undefined;
      this.#byMapping.set(key, fileId);
    }
    return { fileId, fdflags, isMemory: this.#memory.has(fileId) };
  }

  /** The mode bits of a link in map_files tell how the file was opened (fs/proc/base.c proc_map_files_instantiate()). */
  #mappingFlags(path: string): number {
    const link = tryLstat(path);
    if (typeof link === 'number') return O_RDONLY;
    const mode = link.st_mode & 0o600;
    return mode === 0o600 ? O_RDWR : mode === 0o200 ? O_WRONLY : O_RDONLY;
  }

  /**
   * Adds to a program of the task what /proc does not tell about its descriptors. The function that is returned is to be
   * called with the results, before `write`.
   */
  ask(program: Program, pid: number): (results: Pick<VisitResult, 'results'>) => void {
    return this.#cloexec.ask(program, pid);
  }

  /** Writes files.img, fdinfo images and what the kinds have. */
  write(images: ImageDir): void {
    for (const [filesId, entries] of this.fdinfo) images.write('fdinfo', filesId, entries);
    images.write('files', undefined, this.files);
    if (this.#remaps.length > 0) images.write('remap-fpath', undefined, this.#remaps);
    const locks = this.#locks.entries;
    if (locks.length > 0) images.write('filelocks', undefined, locks);
    for (const image of ['pipes-data', 'fifo-data', 'sk-queues', 'bpfmap-data'] as const) {
      const elements = this.#data.get(image);
      if (elements !== undefined) images.write(image, undefined, elements as never);
    }
    for (const write of this.#lateImages) write(images);
  }

  /** Writes what is copied from files. The tree must still be frozen. */
  writeContents(images: ImageDir): void {
    for (const write of this.#images) write(images);
  }

  // What kinds may use.

  hasTask(pid: number): boolean {
    return this.#pids.has(pid);
  }

  nextFileId(): number {
    return this.#ids.next();
  }

  addEntry(entry: FileEntry): void {
    this.files.push(entry);
  }

  addRemap(remap: RemapFilePathEntry): void {
    this.#remaps.push(remap);
  }

  addData<K extends DataImage>(image: K, element: ElementOf<K>): void {
    const elements = this.#data.get(image) ?? [];
    elements.push(element);
    this.#data.set(image, elements);
  }

  addImage(write: (images: ImageDir) => void): void {
    this.#images.push(write);
  }

  addLateImage(write: (images: ImageDir) => void): void {
    this.#lateImages.push(write);
  }

  isFirst(key: string): boolean {
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    return true;
  }

  idOf(task: FrozenTask, fd: number): number | undefined {
    return this.#found.idOf(task.pid, fd);
  }

  findId(test: (descriptor: DescriptorOf) => boolean): number | undefined {
    const found = this.#found.find(test);
    if (found !== undefined) return found;
    const self = getpid();
    return this.#inFlight.find(({ fd, id }) => id !== undefined && test({ pid: self, fd }))?.id;
  }

  fdsOf(task: FrozenTask): number[] {
    return this.#found.fdsOf(task.pid);
  }

  state<T>(key: string, make: () => T): T {
    const known = this.#states.get(key);
    if (known !== undefined) return known as T;
    const value = make();
    this.#states.set(key, value);
    return value;
  }

  registerInFlight(task: FrozenTask, localFd: number): number | undefined {
    // Descriptions are compared by this descriptor until all are known.
    const kept: { fd: number; id: number | undefined } = { fd: localFd, id: undefined };
    this.#inFlight.push(kept);
    const own = { ...task, pid: getpid(), label: `${task.label}, in flight to it` };
    const count = this.problems.length;
    const entry = this.#dumpDescriptor(InspectedFile.ofOwn(own, localFd), 0, task);
    kept.id = this.problems.length > count ? undefined : entry?.id;
    return kept.id;
  }

  closeAfterwards(fd: number): void {
    this.#others.push(fd);
  }

  warn(text: string): void {
    this.#log.warn(text);
  }

  addProblem(problem: CriuErrorFields): void {
    this.problems.push(problem);
  }

  onRollback(undo: () => void): void {
    this.options.aftermath.onRollback(undo);
  }

  onHandOver(action: () => void): void {
    this.options.aftermath.onHandOver(action);
  }

  #fail(problem: CriuErrorFields): undefined {
    this.problems.push(problem);
    return undefined;
  }

  #collectTable(task: FrozenTask, filesId: number): FdinfoEntry[] {
    using table = this.#tables.open(task);
    const entries: FdinfoEntry[] = [];
    for (let i = 0; i < table.fds.length; i++) {
      const entry = this.#collectDescriptor(task, table, i, filesId);
      if (entry !== undefined) entries.push(entry);
    }
    return entries;
  }

  /** `index`: the place of the descriptor in the table. */
  #collectDescriptor(task: FrozenTask, table: DescriptorTable, index: number, filesId: number) {
    const fd = table.fds[index];
    try {
      const file = table.inspect(index);
      if (typeof file === 'object') return this.#dumpAndClose(file, filesId);
      return this.#fail({
        object: `fd ${fd} of ${task.label}`,
        action: `cannot be fetched (pidfd_getfd: ${errnoName(-file)})`,
        crErrno: -file,
      });
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      return this.#fail({ object: `fd ${fd} of ${task.label}`, action: 'cannot be inspected', cause: error });
    }
  }

  #dumpAndClose(file: DescriptorFile, filesId: number): FdinfoEntry | undefined {
    try {
      return this.#dumpDescriptor(file, filesId);
    } finally {
      file.close?.();
    }
  }

  /** `receiver`: the task that it is in flight to. */
  #dumpDescriptor(file: DescriptorFile, filesId: number, receiver = file.task): FdinfoEntry | undefined {
    const kind = this.#kindOf(file);
    if (kind === undefined) return this.#fail(blocker(file, refuseUnknown(file)));
    const before = this.#ids.last;
    const id = this.#ids.identify(file);
    const isNew = id > before;
    const lockProblem = file.hasLocks ? this.#locks.add(file, filesId, isNew) : undefined;
    if (lockProblem !== undefined) this.problems.push(lockProblem);
    const { isCloexec } = file;
    const entry = { id, flags: isCloexec === true ? FD_CLOEXEC : 0, type: kind.type, fd: file.fd };
    if (isCloexec === undefined) this.#cloexec.add(file.task.pid, entry);
    if (isNew) this.#dumpDescription(kind, file, entry, receiver);
    return entry;
  }

  /** Mostly that of the file before. */
  #kindOf(file: OpenFile): FileKind | undefined {
    if (this.#kind?.recognise(file) !== true) this.#kind = findKind(file);
    return this.#kind;
  }

  #dumpDescription(kind: FileKind, file: OpenFile, fdinfo: FdinfoEntry, receiver: FrozenTask): void {
    const result = kind.dump(file, fdinfo.id, this);
    if ('unsupported' in result) {
      this.#fail(blocker(file, result));
      return;
    }
    this.files.push(result);
    if (kind === regularFile) this.#remember(file, fdinfo.id);
    if (kind.complete === undefined) return;
    const holder = { pid: file.task.pid, fd: file.fd };
    this.#completions.push(() => kind.complete?.(result, holder, receiver, this));
  }

  /** Registers a path that is open as `localFd`, which is closed. */
  #registerPath(task: FrozenTask, localFd: number, role: string): number | undefined {
    try {
      const file = InspectedFile.ofPath(task, localFd, role);
      const known = this.#byPath.get(file);
      if (known !== undefined) return known;
      if (!file.isKernelShmem && !regularFile.recognise(file)) return this.#fail(blocker(file, refuseUnknown(file)));
      const id = this.#ids.next();
      const result = file.isKernelShmem ? dumpMemfd(file, id, this) : dumpRegularFile(file, id, this);
      if ('unsupported' in result) return this.#fail(blocker(file, result));
      if (file.isKernelShmem) this.#memory.add(id);
      this.files.push(result);
      this.#remember(file, id);
      return id;
    } finally {
      close(localFd);
    }
  }

  /** Nodes of devices are not shared: opening one may have effects. */
  #remember(file: OpenFile, id: number): void {
    const type = file.stat.st_mode & S_IFMT;
    if (type === S_IFCHR || type === S_IFBLK) return;
    this.#byPath.add(file, id);
  }
}
